"""A state dict as a list of layers, with their kinds and shapes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, islice, permutations, takewhile
from typing import Literal

from torch import Tensor

from vgg_runtime._internal.validation import counted

__all__ = ["MAX_ROW", "Kind", "SavedLayer", "describe_layers", "other_orders", "saved_layers"]

# The most layers of a network that is recognised as a row. A VGG-19 with batch normalization has 35 with weights, and
# without shortcuts networks much deeper than that do not train.
MAX_ROW = 200

Kind = Literal["convolution", "linear", "batch norm", "other"]

_AFFINE = ({"weight"}, {"weight", "bias"})
_MOST_GROUPS = 5  # 120 orders
_BATCH_NORM = {"weight", "bias", "running_mean", "running_var"}


@dataclass(frozen=True)
class SavedLayer:
    """One layer that left keys.

    Attributes:
        path: path of the layer in the module, "features.0".
        shape: shape of its weight: (out, in, height, width) of a convolution, (out, in) of a Linear, (width,) of a
            BatchNorm; empty for other kinds.
    """

    path: str
    kind: Kind
    shape: tuple[int, ...]
    bias: bool

    @property
    def parent(self) -> str:
        return self.path.rpartition(".")[0]

    @property
    def name(self) -> str:
        return self.path.rpartition(".")[2]

    @property
    def root(self) -> str:
        """The outermost Sequential: the path without its final indices; for a layer outside of any, its own path."""
        names = self.path.split(".")
        return ".".join(names[: len(names) - len(self.indices)])

    @property
    def indices(self) -> tuple[int, ...]:
        """The numbers at the end of the path: (2, 0) of "features.2.0", a Sequential inside a Sequential."""
        numbers = takewhile(str.isdigit, reversed(self.path.split(".")))
        return tuple(map(int, numbers))[::-1]

    def depth_shared_with(self, other: SavedLayer) -> int | None:
        """The number of leading indices in common; None if they have no Sequential in common."""
        if self.root != other.root:
            return None
        same = takewhile(lambda pair: pair[0] == pair[1], zip(self.indices, other.indices, strict=False))
        return len(list(same))

    def gap_to(self, other: SavedLayer) -> int | None:
        """The number of layers without weights between the two; None if no indices show it.

        Indices do not show layers at the end of an inner Sequential.
        """
        depth = self.depth_shared_with(other)
        if depth is None or len(self.indices) != depth + 1:
            return None
        return sum(other.indices[depth:]) - self.indices[depth] - 1


def saved_layers(state: Mapping[str, Tensor]) -> list[SavedLayer]:
    """Return the layers in the order in which they first appear, and those of each Sequential by index.

    torch saves layers in order; safetensors sorts the keys, which puts 10 before 2.
    """
    grouped: dict[str, dict[str, Tensor]] = {}
    for key, tensor in state.items():
        path, _, name = key.rpartition(".")
        grouped.setdefault(path, {})[name] = tensor
    layers = [_layer(path, tensors) for path, tensors in grouped.items()]
    groups = {group: order for order, group in enumerate(dict.fromkeys(_group(layer) for layer in layers))}
    return sorted(layers, key=lambda layer: (groups[_group(layer)], layer.indices))


def other_orders(layers: Sequence[SavedLayer]) -> Iterator[list[SavedLayer]]:
    """Yield the layers in every other order of the Sequentials and the layers outside of any, if these are few."""
    groups = [list(members) for _, members in groupby(layers, _group)]
    if len(groups) <= _MOST_GROUPS:
        for order in islice(permutations(groups), 1, None):  # the first is the order as it is
            yield [layer for group in order for layer in group]


def _group(layer: SavedLayer) -> str:
    return f"{layer.root}.N" if layer.indices else layer.path


def describe_layers(layers: Sequence[SavedLayer]) -> str:
    """Return a summary for a message: ``8 convolutions, 3 Linear layers``."""
    names = {"convolution": "convolution", "linear": "Linear layer", "batch norm": "BatchNorm", "other": "other layer"}
    counts = ((name, sum(layer.kind == kind for layer in layers)) for kind, name in names.items())
    return ", ".join(counted(count, name) for name, count in counts if count)


def _layer(path: str, tensors: dict[str, Tensor]) -> SavedLayer:
    kind = _kind(tensors)
    shape = tuple(tensors["weight"].shape) if kind != "other" else ()
    return SavedLayer(path, kind, shape, bias="bias" in tensors)


def _kind(tensors: dict[str, Tensor]) -> Kind:
    names = set(tensors) - {"num_batches_tracked"}
    if names == _BATCH_NORM and tensors["weight"].dim() == 1:
        return "batch norm"
    if names in _AFFINE and tensors["weight"].dim() == 4:
        return "convolution"
    if names in _AFFINE and tensors["weight"].dim() == 2:
        return "linear"
    return "other"
