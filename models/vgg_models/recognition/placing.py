"""Put layers in their order under the paths that a state dict has for those with weights."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from vgg_models.architectures.chain import Chain
from vgg_models.recognition.saved_layers import Kind, SavedLayer

__all__ = ["gaps_agree", "place", "same_layers"]

_KINDS: tuple[tuple[type[nn.Module], Kind], ...] = (
    (nn.Conv2d, "convolution"),
    (nn.Linear, "linear"),
    (nn.BatchNorm2d, "batch norm"),
    (nn.BatchNorm1d, "batch norm"),
)


def same_layers(layers: Sequence[nn.Module], saved: Sequence[SavedLayer]) -> bool:
    """Whether those of the layers that have weights are the saved ones: in kind, shape, bias and order."""
    described = [
        (kind, tuple(layer.weight.shape), layer.bias is not None)
        for layer in layers
        for cls, kind in _KINDS
        if isinstance(layer, cls) and isinstance(layer.weight, nn.Parameter)
    ]
    return described == [(layer.kind, layer.shape, layer.bias) for layer in saved]


def gaps_agree(layers: Sequence[nn.Module], saved: Sequence[SavedLayer]) -> bool:
    """Whether as many layers without weights lie between two saved ones as their indices leave room for.

    A Flatten may have been a call in ``forward``, so it may be left out. Names that are no indices agree with all.
    """
    between = _weightless_before(layers)[1:]
    for (before, after), fillings in zip(pairwise(saved), between, strict=True):
        gap = before.gap_to(after)
        without_flatten = sum(not isinstance(layer, nn.Flatten) for layer in fillings)
        if gap is not None and gap not in (len(fillings), without_flatten):
            return False
    return True


def place(layers: Sequence[nn.Module], saved: Sequence[SavedLayer]) -> Chain:
    """Return the layers as a module whose keys are the saved ones."""
    taken = {layer.path for layer in saved}
    paths = iter(saved)
    steps: list[tuple[str, nn.Module]] = []
    for layer in layers:
        path = next(paths).path if _has_weights(layer) else _free_path(layer, steps, taken)
        taken.add(path)
        steps.append((path, layer))
    return Chain(steps)


def _weightless_before(layers: Sequence[nn.Module]) -> list[list[nn.Module]]:
    """For each layer with weights, the layers without that come right before it."""
    groups: list[list[nn.Module]] = [[]]
    for layer in layers:
        if _has_weights(layer):
            groups.append([])
        else:
            groups[-1].append(layer)
    return groups[:-1]


def _has_weights(layer: nn.Module) -> bool:
    return any(isinstance(layer, cls) for cls, _ in _KINDS)


def _free_path(layer: nn.Module, steps: list[tuple[str, nn.Module]], taken: set[str]) -> str:
    """The next index, where the layer before has one that is followed by a free one; else a name such as relu2."""
    parent, _, name = (steps[-1][0] if steps else "").rpartition(".")
    successor = f"{parent}.{int(name) + 1}".lstrip(".") if name.isdigit() else ""
    if successor and successor not in taken:
        return successor
    kind = type(layer).__name__.lower()
    number = 1
    while f"{kind}{number}" in taken:
        number += 1
    return f"{kind}{number}"
