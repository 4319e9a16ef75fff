"""Read a pickle into descriptions. No class that it names is called, none is even imported.

The pickle module builds objects while it reads; here each opcode only moves plain values on a stack, which is all that
torch.save's pickles need. An opcode that is not in the tables below is refused.
"""

from __future__ import annotations

import pickletools
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any

from vgg_models.checkpoint.descriptions import (
    MAX_VALUES,
    STATE_DICT_HINT,
    ObjectDescription,
    Placeholder,
    StorageDescription,
)
from vgg_models.checkpoint.pickled_names import STORAGES, checked_key, describe_name, set_of
from vgg_runtime._internal.shortening import shortened
from vgg_runtime.errors import CheckpointError, UnsafeCheckpointError

__all__ = ["PickleDescription", "describe_pickle"]


@dataclass(frozen=True)
class PickleDescription:
    """The contents of a pickle.

    Attributes:
        content: dicts, lists, tuples, plain values, and the classes of :mod:`vgg_models.checkpoint.descriptions`.
        storages: those that the pickle refers to, by their keys.
    """

    content: Any
    storages: dict[str, StorageDescription]


def describe_pickle(file: IO[bytes], subject: str) -> PickleDescription:
    """Return what the pickle at the position of ``file`` describes; the position is then after it.

    Args:
        subject: the file in messages.

    Raises:
        UnsafeCheckpointError: the pickle names something that could run code.
        CheckpointError: it is larger than the caps. A damaged pickle may raise any other exception too.
    """
    describer = _Describer(subject)
    return PickleDescription(describer.read(file), describer.storages)


class _Describer:
    """The stack machine of pickle, for the opcodes of torch.save and torch.jit.save."""

    def __init__(self, subject: str) -> None:
        self._subject = subject
        self._stack: list[Any] = []
        self._marked: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        self.storages: dict[str, StorageDescription] = {}

    def read(self, file: IO[bytes]) -> Any:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
            if count > MAX_VALUES:
                raise CheckpointError(f"{self._subject} describes more than {MAX_VALUES} values.", hint=STATE_DICT_HINT)
            if opcode.name in _ARGUMENT:
                self._stack.append(argument)
            elif opcode.name in _NEW:
                self._stack.append(_NEW[opcode.name]())
            elif opcode.name in _STEPS:
                _STEPS[opcode.name](self, argument)
            elif opcode.name not in _NO_EFFECT:
                raise self._refusal(f"it has the pickle opcode {opcode.name}, which torch.save does not write")
        (content,) = self._stack
        return content

    def _refusal(self, reason: str) -> UnsafeCheckpointError:
        return UnsafeCheckpointError(f"{self._subject} can't be read safely: {reason}.", hint=STATE_DICT_HINT)

    def _put(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    def _memoize(self, _: object) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def _get(self, index: int) -> None:
        self._stack.append(self._memo[index])

    def _mark(self, _: object) -> None:
        self._marked.append(self._stack)
        self._stack = []

    def _since_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._marked.pop()
        return items

    def _tuple(self, _: object) -> None:
        items = self._since_mark()
        self._stack.append(tuple(items))

    def _tuple_of(self, count: int) -> None:
        if len(self._stack) < count:
            raise IndexError("the pickle takes more values than it has")
        self._stack[-count:] = [tuple(self._stack[-count:])]

    def _extend(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is not list:
            raise self._refusal(f"it appends to {_kind(target)}")
        target.extend(items)

    def _update(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) not in (dict, OrderedDict):
            raise self._refusal(f"it sets items of {_kind(target)}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[checked_key(key)] = value

    def _add_items(self, _: object) -> None:
        items = self._since_mark()
        self._stack[-1].update(set_of(items))

    def _global(self, module: str, name: str) -> None:
        module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
        value = describe_name(f"{module}.{name}")
        if value is None:
            raise UnsafeCheckpointError(
                f"{self._subject} names {shortened(f'{module}.{name}')}, which could run code. Accepted are tensors, "
                "plain Python values, torch.nn layers, and classes of your own made of them. Nothing in the file was "
                "executed.",
                hint=STATE_DICT_HINT,
            )
        self._stack.append(value)

    def _stack_global(self, _: object) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        if type(module) is not str or type(name) is not str:
            raise self._refusal("it names something by what is not text")
        self._global(module, name)

    def _new_object(self, _: object) -> None:
        arguments, named = self._stack.pop(), self._stack.pop()
        is_instance = named.has_instances and arguments == ()
        self._stack.append(ObjectDescription(named.name) if is_instance else named.called(arguments))

    def _call(self, _: object) -> None:
        arguments, named = self._stack.pop(), self._stack.pop()
        self._stack.append(named.called(arguments))

    def _build(self, _: object) -> None:
        state, target = self._stack.pop(), self._stack[-1]
        if isinstance(target, ObjectDescription) and target.state is None:
            target.state = state
        # The state of an OrderedDict holds the versions of layers, which loading into today's layers does not need.
        elif not isinstance(target, Placeholder | OrderedDict):
            raise self._refusal(f"it sets the state of {_kind(target)}")

    def _persistent(self, _: object) -> None:
        kind, *facts = self._stack.pop()
        if kind == "module":
            raise CheckpointError(
                f"{self._subject} is a whole module in the container of torch 1.5.", hint=STATE_DICT_HINT
            )
        if kind != "storage":
            raise self._refusal("it refers to something outside the file")
        storage_type, key, location, numel, *view = facts
        if len(view) > 1:  # torch 1.5 and older saved None for it
            raise self._refusal("it describes a storage by more than torch does")
        if any(view):
            raise CheckpointError(f"{self._subject} has a view of a storage, as torch before 0.4 saved it.")
        storage = StorageDescription(key, STORAGES[storage_type.name], location, numel)
        if self.storages.setdefault(storage.key, storage) != storage:
            raise CheckpointError(
                f"{self._subject} describes the storage {storage.key} in two ways.", hint=STATE_DICT_HINT
            )
        self._stack.append(storage)


_ARGUMENT = frozenset(
    {
        *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
        *("SHORT_BINSTRING", "BINSTRING", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
        *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    }
)
_NO_EFFECT = frozenset({"PROTO", "FRAME", "STOP"})
_NEW: dict[str, Callable[[], object]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
}
_STEPS: dict[str, Callable[[_Describer, Any], None]] = {
    "BINPUT": _Describer._put,
    "LONG_BINPUT": _Describer._put,
    "MEMOIZE": _Describer._memoize,
    "BINGET": _Describer._get,
    "LONG_BINGET": _Describer._get,
    "MARK": _Describer._mark,
    "TUPLE": _Describer._tuple,
    "TUPLE1": lambda describer, _: describer._tuple_of(1),
    "TUPLE2": lambda describer, _: describer._tuple_of(2),
    "TUPLE3": lambda describer, _: describer._tuple_of(3),
    "APPEND": lambda describer, _: describer._extend([describer._stack.pop()]),
    "APPENDS": lambda describer, _: describer._extend(describer._since_mark()),
    "SETITEM": lambda describer, _: describer._update([describer._stack.pop(-2), describer._stack.pop()]),
    "SETITEMS": lambda describer, _: describer._update(describer._since_mark()),
    "ADDITEMS": _Describer._add_items,
    "GLOBAL": lambda describer, names: describer._global(*names.split(" ", 1)),
    "STACK_GLOBAL": _Describer._stack_global,
    "NEWOBJ": _Describer._new_object,
    "REDUCE": _Describer._call,
    "BUILD": _Describer._build,
    "BINPERSID": _Describer._persistent,
}


def _kind(value: object) -> str:
    return f"a {shortened(value.name)}" if isinstance(value, ObjectDescription) else f"a {type(value).__name__}"
