"""Recognise one of torchvision's classifiers by the keys of its family, with its own or another head.

Another head is a Sequential of Linear layers in place of torchvision's single Linear, or of its whole classifier of
Linear, ReLU and Dropout; the layers between are inferred as in a VGG's classifier.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from vgg_models.architectures.head import Head, make_head
from vgg_models.architectures.torchvision import default_input_size, empty_torchvision, last_layer, torchvision_info
from vgg_models.architectures.torchvision_families import Family, count_trunk_keys, family_of
from vgg_models.recognition.candidates import NOTHING_FOLLOWS, ArchitectureCandidate
from vgg_models.recognition.saved_layers import saved_layers
from vgg_models.recognition.saved_vgg import read_head
from vgg_runtime._internal.validation import counted

__all__ = ["head_paths", "outside", "recognise", "shapes_of"]

# The layers that flattened features may pass through; a classifier with any other is not replaced as a whole.
_HEAD_LAYERS = (nn.Sequential, nn.Linear, nn.ReLU, nn.Dropout)

Shapes = dict[str, tuple[int, ...]]


def recognise(state: Mapping[str, Tensor], *, input_size: tuple[int, int] | None) -> list[ArchitectureCandidate]:
    """Return the state dict as one of torchvision's classifiers, no two of which have the same shapes."""
    family, count = family_of(state), count_trunk_keys(state)
    for name, keys in family.networks.items() if family else ():
        # A replaced first convolution may have a bias.
        if keys in (count, count - 1) and family and (match := _match(name, state)):
            return [_candidate(match, family, state, input_size)]
    return []


@dataclass(frozen=True)
class _Match:
    """torchvision's classifier of that name, with ``head`` at ``head_path`` in place of its own."""

    name: str
    module: nn.Module
    head_path: str = ""
    head: Head | None = None


def _match(name: str, state: Mapping[str, Tensor]) -> _Match | None:
    module = empty_torchvision(name, state)
    expected, shapes = shapes_of(module.state_dict()), shapes_of(state)
    if expected == shapes:
        return _Match(name, module)
    for path in head_paths(module):
        if outside(path, expected) == outside(path, shapes):
            head = read_head([layer for layer in saved_layers(state) if _within(layer.path, path)], path)
            if head is not None and head.in_features == _in_features(module.get_submodule(path)):
                module.set_submodule(path, make_head(head))
                return _Match(name, module, path, head)
    return None


def head_paths(module: nn.Module) -> Iterator[str]:
    """Yield the possible paths of another head: that of the last layer, then that of the whole classifier."""
    path = last_layer(module)
    while path and all(isinstance(layer, _HEAD_LAYERS) for layer in module.get_submodule(path).modules()):
        yield path
        path = path.rpartition(".")[0]


def shapes_of(state: Mapping[str, Tensor]) -> Shapes:
    """Return the shape of each key, without BatchNorm's counters, which torch before 0.4.1 did not save."""
    return {key: tuple(value.shape) for key, value in state.items() if not key.endswith(".num_batches_tracked")}


def outside(path: str, shapes: Shapes) -> Shapes:
    """Return the shapes of the keys that are not under ``path``."""
    return {key: shape for key, shape in shapes.items() if not _within(key, path)}


def _within(key: str, path: str) -> bool:
    return key == path or key.startswith(f"{path}.")


def _in_features(module: nn.Module) -> int:
    return next(layer.in_features for layer in module.modules() if isinstance(layer, nn.Linear))


def _candidate(
    match: _Match, family: Family, state: Mapping[str, Tensor], input_size: tuple[int, int] | None
) -> ArchitectureCandidate:
    info, usual = torchvision_info(match.name), default_input_size(match.name, state)
    channels = next(layer.in_channels for layer in match.module.modules() if isinstance(layer, nn.Conv2d))
    return ArchitectureCandidate(
        name=info.name,
        description=f"{info.description} with another head" if match.head else info.description,
        build=partial(deepcopy, match.module),
        input_channels=channels,
        input_size=input_size or usual,
        reasons=_reasons(match, len(state)),
        assumptions=(
            *family.assumptions,
            *info.assumptions,
            *_head_assumptions(match),
            *_channel_assumptions(channels),
            *([] if input_size else [_size_assumption(match.name, usual, state)]),
        ),
        chosen_by=f"`model='{info.name}'`",
    )


def _reasons(match: _Match, count: int) -> tuple[str, ...]:
    if match.head is None:
        return (
            f"all {count} keys and their shapes are those of torchvision's {match.name}, for any number of classes",
        )
    widths = [layer.out_features for layer in match.head.layers if not layer.batch_norm]
    return (
        f"all keys and shapes outside of {match.head_path} are those of torchvision's {match.name}",
        f"{match.head_path}: Linear {' → '.join(map(str, [match.head.in_features, *widths]))}",
    )


def _head_assumptions(match: _Match) -> tuple[str, ...]:
    if match.head is None:
        return ()
    gaps = "in the head, a gap of one index is a ReLU, a gap of two a ReLU and a Dropout"
    start = "before the head's first Linear lies nothing but a Flatten or a Dropout"
    return (start, gaps, NOTHING_FOLLOWS) if len(match.head.layers) > 1 else (start, NOTHING_FOLLOWS)


def _channel_assumptions(channels: int) -> tuple[str, ...]:
    if channels == 3:
        return ()
    return (
        f"the first convolution takes {counted(channels, 'channel')}, and has the stride and padding of torchvision's",
    )


def _size_assumption(name: str, size: tuple[int, int], state: Mapping[str, Tensor]) -> str:
    images = f"the images are {size[0]}x{size[1]}"
    if "encoder.pos_embedding" in state:
        return f"{images}: square, and the position embedding has a row for each of their patches"
    return f"{images}, torchvision's size for {name} (`input_size=N` if you trained at another)"
