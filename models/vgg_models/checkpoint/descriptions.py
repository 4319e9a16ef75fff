"""What a checkpoint describes, before anything of it is built: storages, tensors, objects and the caps on them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch

from vgg_runtime._internal.shortening import listed, shortened
from vgg_runtime.errors import CheckpointError, UnsafeCheckpointError

__all__ = [
    "MAX_KEY_LENGTH",
    "MAX_PICKLE_BYTES",
    "MAX_TENSORS",
    "MAX_VALUES",
    "STATE_DICT_HINT",
    "ClassDescription",
    "ObjectDescription",
    "Placeholder",
    "StorageDescription",
    "TensorDescription",
    "check_extent",
]

# Far above any image classifier: a ResNet-1202 has 7,212 tensors, and EfficientNet-B7 with its optimizer and an average
# of its weights is a pickle of 250,000 opcodes.
MAX_PICKLE_BYTES = 64 * 1024 * 1024
MAX_VALUES = 1_000_000
MAX_KEY_LENGTH = 1000
MAX_TENSORS = 10_000  # of one model
_MAX_DEPTH = 150
_MAX_DIMENSIONS = 64  # most of torch's operations take no more
_MAX_ARGUMENTS = 100  # of a call: a path has one for each of its folders
_MAX_NUMBER = 2**63 - 1

STATE_DICT_HINT = "Save only the weights, and load that file: torch.save(model.state_dict(), path)."


@dataclass(frozen=True)
class StorageDescription:
    """A run of numbers in the file.

    Attributes:
        key: its name in the container.
        location: the device that it was saved on: "cpu", "cuda:0".
        numel: how many numbers of ``dtype``.

    Raises:
        CheckpointError: these are not a name, a device and a count.
    """

    key: str
    dtype: torch.dtype
    location: str
    numel: int

    def __post_init__(self) -> None:
        names_are_short = all(type(name) is str and len(name) <= MAX_KEY_LENGTH for name in (self.key, self.location))
        if not names_are_short or not _are_counts([self.numel]):
            raise CheckpointError("a storage of the checkpoint has no legible name, device and length.")

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
        if not (
            len(self.shape) == len(self.strides) <= _MAX_DIMENSIONS
            and _are_counts([self.offset, *self.shape, *self.strides])
        ):
            raise CheckpointError("a tensor of the checkpoint has a shape, strides or offset that no tensor has.")
        numel = math.prod(self.shape)
        last = sum((side - 1) * stride for side, stride in zip(self.shape, self.strides, strict=True)) if numel else -1
        available = self.storage.nbytes // self.dtype.itemsize
        if self.offset + last + 1 > available or numel > available:
            shape, strides = (f"({listed(map(str, numbers))})" for numbers in (self.shape, self.strides))
            raise CheckpointError(
                f"a tensor of the checkpoint has shape {shape}, strides {strides} and offset {self.offset}, but its "
                f"storage {shortened(self.storage.key)} has {available} numbers.",
                hint="Save the checkpoint again; expanded tensors need .clone().",
            )


def _are_counts(numbers: Iterable[object]) -> bool:
    return all(type(number) is int and 0 <= number <= _MAX_NUMBER for number in numbers)


@dataclass(frozen=True)
class ClassDescription:
    """A class or a function that the pickle names.

    Attributes:
        name: its full name: ``torch.nn.modules.linear.Linear``.
        meaning: what a call of it describes; None if calls are refused.
        has_instances: whether it may be a class of objects that are described with their state.
    """

    name: str
    meaning: Callable[..., object] | None = None
    has_instances: bool = False

    def called(self, arguments: tuple[Any, ...]) -> object:
        """Return what a call of it describes.

        Raises:
            UnsafeCheckpointError: it describes nothing, or has too many arguments.
        """
        if self.meaning is None or len(arguments) > _MAX_ARGUMENTS:
            raise UnsafeCheckpointError(
                f"the checkpoint calls {shortened(self.name)}; nothing in a checkpoint is ever executed.",
                hint=STATE_DICT_HINT,
            )
        return self.meaning(*arguments)


@dataclass(eq=False)
class ObjectDescription:
    """An instance of a class, with the state that was saved for it; None before it is known."""

    name: str
    state: Any = None


class Placeholder:
    """Replaces a value that is not needed. Keeps nothing of it."""


_CONTAINERS = (Mapping, list, tuple, set, ObjectDescription)
# How many values an object, and how many characters a value, count as: what follows takes longer for the one, and
# repeats the other in messages.
_VALUES_PER_OBJECT = 100
_CHARACTERS_PER_VALUE = 100


def check_extent(content: object) -> None:
    """Raise CheckpointError if a walk through the content would be too deep, without end, or too long.

    What is shared counts as often as it is reached: layers in layers multiply without another byte in the file.
    """
    known: dict[int, int] = {}
    above: set[int] = set()

    def count(value: object) -> int:
        if isinstance(value, str | bytes | bytearray):
            return 1 + len(value) // _CHARACTERS_PER_VALUE
        if not isinstance(value, _CONTAINERS):
            return 1
        if id(value) in known:
            return known[id(value)]
        if id(value) in above:
            raise CheckpointError("the checkpoint holds an object that contains itself.", hint=STATE_DICT_HINT)
        if len(above) >= _MAX_DEPTH:
            raise CheckpointError(f"the checkpoint is nested more than {_MAX_DEPTH} deep.", hint=STATE_DICT_HINT)
        above.add(id(value))
        values = sum(map(count, _inside(value)), _VALUES_PER_OBJECT if isinstance(value, ObjectDescription) else 1)
        above.remove(id(value))
        if values > MAX_VALUES:
            raise CheckpointError(
                f"the checkpoint has more than {MAX_VALUES} values. A layer counts as {_VALUES_PER_OBJECT} of them, "
                "and what is shared counts as often as it is reached.",
                hint=STATE_DICT_HINT,
            )
        known[id(value)] = values
        return values

    count(content)


def _inside(value: Any) -> Iterable[object]:
    if isinstance(value, Mapping):
        return chain(value.keys(), value.values())
    return (value.state,) if isinstance(value, ObjectDescription) else value
