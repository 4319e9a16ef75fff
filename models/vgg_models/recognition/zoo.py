"""Recognise a network from a well-known tutorial by its layers, whatever their names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from vgg_models.architectures.head import Chain
from vgg_models.architectures.zoo import KNOWN_MODELS, KnownModel
from vgg_models.recognition.candidates import NOTHING_FOLLOWS, ArchitectureCandidate
from vgg_models.recognition.layer_sequences import assemble, gaps_match, same_layers
from vgg_models.recognition.saved_layers import SavedLayer, describe_layers, other_orders, saved_layers
from vgg_runtime._internal.validation import counted
from vgg_runtime.errors import ArchitectureError

__all__ = ["named_candidates", "recognise", "resembling"]


def recognise(state: Mapping[str, Tensor], *, input_size: tuple[int, int] | None) -> list[ArchitectureCandidate]:
    """Return the known models that the state dict matches in layers and in the gaps between indices."""
    return [
        _candidate(name, network, arranged)
        for name, network, arranged in _matching(saved_layers(state))
        if _is_shown(network, arranged) and input_size in (None, network.input_shape[1:])
    ]


def resembling(state: Mapping[str, Tensor]) -> list[str]:
    """Return the names of the known models that fit the state dict although its keys do not prove it."""
    return [name for name, network, arranged in _matching(saved_layers(state)) if not _is_shown(network, arranged)]


def _is_shown(network: KnownModel, saved: Sequence[SavedLayer]) -> bool:
    if network.by_name_only:
        return False
    return not network.shown_by_indices or all(before.gap_to(after) is not None for before, after in pairwise(saved))


def named_candidates(
    name: str, state: Mapping[str, Tensor], *, input_size: tuple[int, int] | None
) -> list[ArchitectureCandidate]:
    """Return the candidate for the state dict as the known model that the user named.

    Raises:
        ArchitectureError: its layers or its image size differ.
    """
    network, saved = KNOWN_MODELS[name], saved_layers(state)
    arranged = _arranged(network, saved)
    if arranged is None:
        raise ArchitectureError(
            f"the checkpoint doesn't fit {name}: it has {describe_layers(saved)}, of other shapes, order or indices.",
            hint="Leave out `model` to have the architecture read off the checkpoint, "
            "or give `model='MODULE:CALLABLE'`.",
        )
    if input_size not in (None, network.input_shape[1:]):
        height, width = network.input_shape[1:]
        raise ArchitectureError(
            f"{name} takes images of {height}x{width}.",
            hint=f"Give `input_size={(height, width)}`, or leave it out.",
        )
    return [_candidate(name, network, arranged)]


def _matching(saved: Sequence[SavedLayer]) -> Iterator[tuple[str, KnownModel, Sequence[SavedLayer]]]:
    for name, network in KNOWN_MODELS.items():
        if (arranged := _arranged(network, saved)) is not None:
            yield name, network, arranged


def _arranged(network: KnownModel, saved: Sequence[SavedLayer]) -> Sequence[SavedLayer] | None:
    """Return the layers in the order of the known model's; None if they are others.

    torch saves layers in the order of creation, safetensors by name, which puts ``classifier`` before ``features``. If
    that is not the order of the known model, the only order of whole Sequentials that matches is used.
    """
    if _matches(network, saved):
        return saved
    orders = [order for order in other_orders(saved) if _matches(network, order)]
    return orders[0] if len(orders) == 1 else None


def _matches(network: KnownModel, saved: Sequence[SavedLayer]) -> bool:
    if not saved or saved[-1].kind != "linear":
        return False
    with torch.device("meta"):
        layers = list(network.build(saved[-1].shape[0]))
    return same_layers(layers, saved) and gaps_match(layers, saved)


def _build(network: KnownModel, saved: Sequence[SavedLayer]) -> Chain:
    layers: list[nn.Module] = list(network.build(saved[-1].shape[0]))
    return assemble(layers, saved)


def _after_the_last(network: KnownModel) -> tuple[str, ...]:
    with torch.device("meta"):
        *_, last = network.build(1)
    return (NOTHING_FOLLOWS,) if isinstance(last, nn.Linear) else ()


def _candidate(name: str, network: KnownModel, saved: Sequence[SavedLayer]) -> ArchitectureCandidate:
    channels, height, width = network.input_shape
    return ArchitectureCandidate(
        name=name,
        description=f"{network.description}, {counted(saved[-1].shape[0], 'class')}",
        build=partial(_build, network, saved),
        input_channels=channels,
        input_size=(height, width),
        reasons=(f"kinds, shapes and order of all layers: {describe_layers(saved)}",),
        assumptions=(f"the images are {height}x{width}", *network.assumptions, *_after_the_last(network)),
        chosen_by=f"`model='{name}'`",
    )
