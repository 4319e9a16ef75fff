"""A state dict as a list of layers: what kind each is, and of which shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

__all__ = ["SavedLayer", "describe_layers", "saved_layers"]

Kind = Literal["convolution", "linear", "batch norm", "other"]

_AFFINE = ({"weight"}, {"weight", "bias"})
_BATCH_NORM = {"weight", "bias", "running_mean", "running_var"}


@dataclass(frozen=True)
class SavedLayer:
    """One layer that left keys.

    Attributes:
        path: of the layer in the module, "features.0".
        shape: of its weight: (out, in, height, width) of a convolution, (out, in) of a Linear, (width,) of a
            BatchNorm; empty for what is none of these.
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


def saved_layers(state: Mapping[str, Tensor]) -> list[SavedLayer]:
    """Return the layers in the order in which their first keys appear."""
    grouped: dict[str, dict[str, Tensor]] = {}
    for key, tensor in state.items():
        path, _, name = key.rpartition(".")
        grouped.setdefault(path, {})[name] = tensor
    return [_layer(path, tensors) for path, tensors in grouped.items()]


def describe_layers(layers: Sequence[SavedLayer]) -> str:
    """Say what was seen, for a message: ``8 convolutions, 3 Linear layers``."""
    names = {"convolution": "convolution", "linear": "Linear layer", "batch norm": "BatchNorm", "other": "other layer"}
    counts = ((name, sum(layer.kind == kind for layer in layers)) for kind, name in names.items())
    return ", ".join(f"{count} {name}{'s' * (count != 1)}" for name, count in counts if count)


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
