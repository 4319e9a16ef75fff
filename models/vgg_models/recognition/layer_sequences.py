"""All sequences of layers that are possible with the saved ones and the gaps between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product
from math import prod

from torch import nn

from vgg_models.architectures.head import Chain
from vgg_models.recognition.gap_grammar import LAYERS, GapLayers, gap_candidates
from vgg_models.recognition.saved_layers import Kind, SavedLayer
from vgg_models.recognition.slots import activations_agree, endings_agree, find_slots

__all__ = ["LayerSequence", "assemble", "enumerate_sequences", "gaps_match", "same_layers"]


_MOST_CHOICES = 1024  # a network whose blocks all differ may have more; it is not recognised


@dataclass(frozen=True)
class LayerSequence:
    """Saved layers, with the properties that their keys do not show.

    Attributes:
        before: layers without weights before each of them.
        padded: whether the convolutions keep the size of the feature maps, except by their stride.
        strided: the convolutions that have stride 2, not 1.
    """

    saved: tuple[SavedLayer, ...]
    before: tuple[GapLayers, ...]
    padded: bool
    strided: frozenset[SavedLayer] = frozenset()

    @property
    def among_features(self) -> tuple[GapLayers, ...]:
        """The layers between feature maps, up to the first Linear."""
        first = next(position for position, layer in enumerate(self.saved) if layer.kind == "linear")
        return self.before[: first + 1]

    @property
    def activated(self) -> bool:
        """Whether there is a ReLU between feature maps, not counting the head."""
        return any("ReLU" in gap_layers for gap_layers in self.among_features)

    @property
    def pooled(self) -> bool:
        return any("MaxPool" in gap_layers for gap_layers in self.among_features)

    @property
    def open_endings(self) -> frozenset[int]:
        """The positions before which feature maps leave a Sequential, where a pool leaves no trace."""
        slots = enumerate(find_slots(self.saved), start=1)
        return frozenset(position for position, slot in slots if slot.open_features)

    @property
    def may_be_strided(self) -> bool:
        """Whether convolutions of stride 2 are as common as these pools, and leave the same keys.

        They are if no pool has a ReLU beside it; and if kernels have an even size, which is rare at a stride of 1, and
        no index shows the pools.
        """
        pools = {position for position, gap_layers in enumerate(self.before) if "MaxPool" in gap_layers}
        even = any(side % 2 == 0 for layer in self.saved if layer.kind == "convolution" for side in layer.shape[2:])
        return self.pooled and (not self.activated or (even and pools <= self.open_endings))

    def with_strides(self) -> LayerSequence:
        """The sequence with the same keys that has a ReLU in place of each pool, after a convolution of stride 2."""
        pooled = [position for position, gap_layers in enumerate(self.before) if "MaxPool" in gap_layers]
        before = tuple(
            tuple(dict.fromkeys("ReLU" if name == "MaxPool" else name for name in gap_layers))
            for gap_layers in self.before
        )
        strided = {_last_convolution(self.saved[:position]) for position in pooled}
        return replace(self, before=before, strided=frozenset(strided))

    def steps(self) -> list[list[nn.Module]]:
        """Each saved layer, with the layers before it."""
        steps: list[list[nn.Module]] = []
        flat = False
        for saved, gap_layers in zip(self.saved, self.before, strict=True):
            layer = _build(saved, padded=self.padded, strided=saved in self.strided, flat=flat)
            steps.append([*(LAYERS[name]() for name in gap_layers), layer])
            flat = flat or saved.kind == "linear"
        return steps

    @property
    def takes_any_size(self) -> bool:
        return any("GlobalPool" in gap_layers for gap_layers in self.before)

    @property
    def pools_told(self) -> bool:
        """Whether no Sequential of the features ends in a pool."""
        return not any("Pool" in name for position in self.open_endings for name in self.before[position])

    def layers(self) -> list[nn.Module]:
        """All layers in the order of execution."""
        return [layer for step in self.steps() for layer in step]

    def build(self) -> Chain:
        """Build the network, with its layers under their names in the checkpoint."""
        return assemble(self.layers(), self.saved)

    def __str__(self) -> str:
        names = []
        for saved, gap_layers in zip(self.saved, self.before, strict=True):
            names += [*gap_layers, _describe(saved) + " stride 2" * (saved in self.strided)]
        return ", ".join(names)


def enumerate_sequences(saved: Sequence[SavedLayer]) -> Iterator[LayerSequence]:
    """Yield every sequence that the grammar allows for these layers; none if their shapes do not match.

    Gaps with the same slot are all filled in the same way. If pools may as well be strides, the sequence with strides
    follows.
    """
    if not saved or saved[-1].kind != "linear" or not all(map(_follows, saved, saved[1:])):
        return
    first: GapLayers = ("Flatten",) if saved[0].kind == "linear" else ()
    slots = find_slots(saved)
    kinds = list(dict.fromkeys(slots))
    contents = [gap_candidates(slot.before, slot.after, slot.gap, flat=slot.flat) for slot in kinds]
    if prod(map(len, contents)) > _MOST_CHOICES:
        return
    for choice in product(*contents):
        selection = dict(zip(kinds, choice, strict=True))
        if activations_agree(selection) and endings_agree(selection):
            for padded in _paddings(saved):
                sequence = LayerSequence(tuple(saved), (first, *(selection[slot] for slot in slots)), padded)
                yield sequence
                if sequence.may_be_strided:
                    yield sequence.with_strides()


def _paddings(saved: Sequence[SavedLayer]) -> tuple[bool, ...]:
    """The possible answers to whether the convolutions are padded; with 1x1 kernels only, padding is none."""
    kernels = {layer.shape[2:] for layer in saved if layer.kind == "convolution"}
    return (True, False) if kernels - {(1, 1)} else (True,)


def _follows(before: SavedLayer, after: SavedLayer) -> bool:
    """Whether the input of one fits the output of the other."""
    width = before.shape[0] if before.shape else 0
    if "other" in (before.kind, after.kind):
        return False
    if after.kind == "linear" and before.kind == "convolution":
        return after.shape[1] % width == 0
    if after.kind == "linear" and before.kind == "batch norm":
        return after.shape[1] % width == 0
    return after.shape[0 if after.kind == "batch norm" else 1] == width


def _last_convolution(saved: Sequence[SavedLayer]) -> SavedLayer:
    return [layer for layer in saved if layer.kind == "convolution"][-1]


def _build(saved: SavedLayer, *, padded: bool, strided: bool, flat: bool) -> nn.Module:
    if saved.kind == "convolution":
        return _convolution(saved, padded=padded, stride=2 if strided else 1)
    if saved.kind == "linear":
        return nn.Linear(saved.shape[1], saved.shape[0], bias=saved.bias)
    return nn.BatchNorm1d(saved.shape[0]) if flat else nn.BatchNorm2d(saved.shape[0])


def _convolution(saved: SavedLayer, *, padded: bool, stride: int) -> nn.Conv2d:
    out_channels, in_channels, height, width = saved.shape
    # A kernel of even size then adds a row and a column at stride 1, and halves the feature maps at stride 2.
    padding = tuple((side - stride + 1) // 2 if padded else 0 for side in (height, width))
    return nn.Conv2d(in_channels, out_channels, (height, width), stride, padding, bias=saved.bias)  # type: ignore[arg-type]


def _describe(saved: SavedLayer) -> str:
    if saved.kind == "convolution":
        out_channels, in_channels, height, width = saved.shape
        return f"Conv {in_channels}→{out_channels} {height}x{width}"
    return f"Linear {saved.shape[1]}→{saved.shape[0]}" if saved.kind == "linear" else "BatchNorm"


_KINDS: tuple[tuple[type[nn.Module], Kind], ...] = (
    (nn.Conv2d, "convolution"),
    (nn.Linear, "linear"),
    (nn.BatchNorm2d, "batch norm"),
    (nn.BatchNorm1d, "batch norm"),
)


def same_layers(layers: Sequence[nn.Module], saved: Sequence[SavedLayer]) -> bool:
    """Whether the layers with weights are the saved ones, in kind, shape, bias and order."""
    described = [
        (kind, tuple(layer.weight.shape), layer.bias is not None)
        for layer in layers
        for cls, kind in _KINDS
        if isinstance(layer, cls) and isinstance(layer.weight, nn.Parameter)
    ]
    return described == [(layer.kind, layer.shape, layer.bias) for layer in saved]


def gaps_match(layers: Sequence[nn.Module], saved: Sequence[SavedLayer]) -> bool:
    """Whether the number of layers without weights between saved ones is what their indices leave room for.

    A Flatten may be absent, as it may have been a call in ``forward``. Names that are not indices always match.
    """
    between = _weightless_before(layers)[1:]
    for (before, after), layers_between in zip(pairwise(saved), between, strict=True):
        gap = before.gap_to(after)
        without_flatten = sum(not isinstance(layer, nn.Flatten) for layer in layers_between)
        if gap is not None and gap not in (len(layers_between), without_flatten):
            return False
    return True


def assemble(layers: Sequence[nn.Module], saved: Sequence[SavedLayer]) -> Chain:
    """Return the layers as a module with the saved keys."""
    occupied = {path for layer in saved for path in _with_parents(layer.path)}
    paths = iter(saved)
    steps: list[tuple[str, nn.Module]] = []
    for layer in layers:
        path = next(paths).path if _has_weights(layer) else _free_path(layer, steps, occupied)
        occupied.add(path)
        steps.append((path, layer))
    return Chain(steps)


def _with_parents(path: str) -> list[str]:
    names = path.split(".")
    return [".".join(names[:count]) for count in range(1, len(names) + 1)]


def _weightless_before(layers: Sequence[nn.Module]) -> list[list[nn.Module]]:
    """For each layer with weights, the layers without weights right before it."""
    groups: list[list[nn.Module]] = [[]]
    for layer in layers:
        if _has_weights(layer):
            groups.append([])
        else:
            groups[-1].append(layer)
    return groups[:-1]


def _has_weights(layer: nn.Module) -> bool:
    return any(isinstance(layer, cls) for cls, _ in _KINDS)


def _free_path(layer: nn.Module, steps: list[tuple[str, nn.Module]], occupied: set[str]) -> str:
    """The index after that of the layer before, if it is free; else a name such as relu2."""
    parent, _, name = (steps[-1][0] if steps else "").rpartition(".")
    successor = f"{parent}.{int(name) + 1}".lstrip(".") if name.isdigit() else ""
    if successor and successor not in occupied:
        return successor
    kind = type(layer).__name__.lower()
    number = 1
    while f"{kind}{number}" in occupied:
        number += 1
    return f"{kind}{number}"
