"""What a checkpoint describes, before anything of it is built: storages, tensors, objects and the caps on them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from vgg_runtime.errors import CheckpointError

__all__ = [
    "MAX_KEY_LENGTH",
    "MAX_OPCODES",
    "MAX_PICKLE_BYTES",
    "MAX_TENSORS",
    "ClassDescription",
    "ObjectDescription",
    "Placeholder",
    "StorageDescription",
    "TensorDescription",
    "check_extent",
    "listed",
    "placeholder_class",
    "shortened",
]

# Far above any image classifier: a ResNet-1202 has 7,212 tensors, and EfficientNet-B7 with its optimizer and an average
# of its weights takes 250,000 opcodes.
MAX_PICKLE_BYTES = 64 * 1024 * 1024
MAX_OPCODES = 1_000_000
MAX_KEY_LENGTH = 1000
MAX_TENSORS = 10_000  # of one model
_MAX_DEPTH = 150
_MAX_OBJECTS = 10_000  # as often as they are reached: layers in layers multiply without another byte in the file

_LISTED = 10
_SHOWN_LENGTH = 100


@dataclass(frozen=True)
class StorageDescription:
    """A run of numbers in the file.

    Attributes:
        key: its name in the container.
        location: the device that it was saved on: "cpu", "cuda:0".
        numel: how many numbers of ``dtype``.
    """

    key: str
    dtype: torch.dtype
    location: str
    numel: int

    @property
    def nbytes(self) -> int:
        return self.numel * self.dtype.itemsize


@dataclass(frozen=True)
class TensorDescription:
    """A view of a storage; offset and strides count numbers of ``dtype``.

    Raises:
        CheckpointError: it reaches outside the storage, or repeats numbers of it.
    """

    storage: StorageDescription
    dtype: torch.dtype
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    is_parameter: bool = False

    def __post_init__(self) -> None:
        numbers = (self.offset, *self.shape, *self.strides)
        if len(self.shape) != len(self.strides) or not all(type(number) is int and number >= 0 for number in numbers):
            raise CheckpointError(
                f"a tensor of the checkpoint has shape {_numbers(self.shape)}, strides {_numbers(self.strides)} and "
                f"offset {_numbers([self.offset])}, which no tensor can have."
            )
        numel = math.prod(self.shape)
        last = sum((side - 1) * stride for side, stride in zip(self.shape, self.strides, strict=True)) if numel else -1
        available = self.storage.nbytes // self.dtype.itemsize
        if self.offset + last + 1 > available or numel > available:
            raise CheckpointError(
                f"a tensor of the checkpoint has shape {_numbers(self.shape)}, strides {_numbers(self.strides)} and "
                f"offset {self.offset}, but its storage {shortened(self.storage.key)} has {available} numbers.",
                hint="Save the checkpoint again; expanded tensors need .clone().",
            )


@dataclass(frozen=True)
class ClassDescription:
    """A class or a function that the pickle names: ``torch.nn.modules.linear.Linear``."""

    name: str


@dataclass(eq=False)
class ObjectDescription:
    """An instance of a class, with the state that was saved for it; None before it is known."""

    name: str
    state: Any = None


class Placeholder:
    """Replaces a value that is not needed. Keeps nothing of it."""


@cache
def placeholder_class(name: str) -> type[Placeholder]:
    """Return a class of that name, since messages call a value by the name of its class."""
    return type(name, (Placeholder,), {})


def check_extent(content: object) -> None:
    """Raise CheckpointError if a walk through the content would be too deep, without end, or meet too many objects."""
    known: dict[int, int] = {}  # objects inside: what is shared is looked at once, and counted often
    above: set[int] = set()

    def count_objects(value: object) -> int:
        if not isinstance(value, _CONTAINERS):
            return 0
        if id(value) in known:
            return known[id(value)]
        if id(value) in above:
            raise CheckpointError("the checkpoint holds an object that contains itself.", hint=_STATE_DICT_HINT)
        if len(above) >= _MAX_DEPTH:
            raise CheckpointError(f"the checkpoint is nested more than {_MAX_DEPTH} deep.", hint=_STATE_DICT_HINT)
        above.add(id(value))
        objects = sum(map(count_objects, _inside(value)), int(isinstance(value, ObjectDescription)))
        above.remove(id(value))
        if objects > _MAX_OBJECTS:
            raise CheckpointError(
                f"the checkpoint has {objects} layers and other objects, counted as often as they are reached; at most "
                f"{_MAX_OBJECTS} are read.",
                hint=_STATE_DICT_HINT,
            )
        known[id(value)] = objects
        return objects

    count_objects(content)


_CONTAINERS = (Mapping, list, tuple, ObjectDescription)
_STATE_DICT_HINT = "Save only the weights: torch.save(model.state_dict(), path)."


def _inside(value: object) -> Iterable[object]:
    if isinstance(value, Mapping):
        return value.values()
    if isinstance(value, ObjectDescription):
        return (value.state,)
    return value if isinstance(value, list | tuple) else ()


def listed(names: Iterable[str]) -> str:
    """Return the first names for a message, each cut to a readable length, and how many more there are."""
    everything = list(names)
    more = [f"and {len(everything) - _LISTED} more"] if len(everything) > _LISTED else []
    return ", ".join([*map(shortened, everything[:_LISTED]), *more])


def shortened(text: str) -> str:
    """Return the text, cut to a readable length."""
    return text if len(text) <= _SHOWN_LENGTH else f"{text[: _SHOWN_LENGTH - 3]}... ({len(text)} characters)"


def _numbers(numbers: Sequence[object]) -> str:
    return shortened(f"({', '.join(_number(number) for number in numbers[:_LISTED])})")


def _number(number: object) -> str:
    return str(number) if isinstance(number, int) else type(number).__name__
