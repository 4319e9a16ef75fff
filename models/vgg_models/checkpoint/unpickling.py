"""Read a pickle into descriptions. No class that it names is called, none is even imported.

The pickle module builds objects while it reads; here each opcode only moves plain values on a stack, which is all that
torch.save's pickles need. What is not in the tables below is refused.
"""

from __future__ import annotations

import pickletools
import sys
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any

import torch
from torch import nn

from vgg_models.checkpoint.descriptions import (
    MAX_KEY_LENGTH,
    MAX_OPCODES,
    MAX_PICKLE_BYTES,
    ClassDescription,
    ObjectDescription,
    Placeholder,
    StorageDescription,
    TensorDescription,
    placeholder_class,
    shortened,
)
from vgg_runtime.errors import CheckpointError, UnsafeCheckpointError

__all__ = ["STATE_DICT_HINT", "PickleDescription", "describe_pickle", "torch_layer"]

STATE_DICT_HINT = "Save only the weights, and load that file: torch.save(model.state_dict(), path)."

# Refused, unless a table below has them; any other module is the user's own.
_RESERVED = frozenset({*sys.stdlib_module_names, "torch", "numpy"})

# Wrappers that are modules of torch, but outside torch.nn.modules: only their child `module` is needed.
_WRAPPERS = frozenset({"torch.nn.parallel.data_parallel.DataParallel"})

# Values that are not needed: what training loops save besides the weights, and what could be made large by a call.
# Messages call a value by its class name; numpy creates its arrays with `_reconstruct`.
_PLACEHOLDERS = {
    "_codecs.encode": "bytes",
    "argparse.Namespace": "Namespace",
    "builtins.bytearray": "bytearray",
    "builtins.complex": "complex",
    "collections.Counter": "Counter",
    "datetime.date": "date",
    "datetime.datetime": "datetime",
    "datetime.time": "time",
    "datetime.timedelta": "timedelta",
    "datetime.timezone": "timezone",
    "numpy._core.multiarray._reconstruct": "ndarray",
    "numpy._core.multiarray.scalar": "scalar",
    "numpy.core.multiarray._reconstruct": "ndarray",
    "numpy.core.multiarray.scalar": "scalar",
    "numpy.dtype": "dtype",
    "numpy.ndarray": "ndarray",
    "pathlib.Path": "Path",
    "pathlib.PosixPath": "PosixPath",
    "pathlib.PurePosixPath": "PurePosixPath",
    "pathlib.PureWindowsPath": "PureWindowsPath",
    "pathlib.WindowsPath": "WindowsPath",
    "torch._utils._rebuild_nested_tensor": "NestedTensor",
    "torch.device": "device",
    "torch.serialization._get_layout": "layout",
}

_STORAGES = {
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.BoolStorage": torch.bool,
    "torch.ByteStorage": torch.uint8,
    "torch.CharStorage": torch.int8,
    "torch.ComplexDoubleStorage": torch.complex128,
    "torch.ComplexFloatStorage": torch.complex64,
    "torch.DoubleStorage": torch.float64,
    "torch.FloatStorage": torch.float32,
    "torch.HalfStorage": torch.float16,
    "torch.IntStorage": torch.int32,
    "torch.LongStorage": torch.int64,
    "torch.QInt32Storage": torch.qint32,
    "torch.QInt8Storage": torch.qint8,
    "torch.QUInt2x4Storage": torch.quint2x4,
    "torch.QUInt4x2Storage": torch.quint4x2,
    "torch.QUInt8Storage": torch.quint8,
    "torch.ShortStorage": torch.int16,
    "torch.storage.UntypedStorage": torch.uint8,
}


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


def torch_layer(name: str) -> type[nn.Module] | None:
    """Return torch's layer of that full name, if torch has imported it; a name in a file must not cause an import."""
    module, _, attribute = name.rpartition(".")
    if not module.startswith("torch.nn.modules."):
        return None
    cls = getattr(sys.modules.get(module), attribute, None)
    return cls if isinstance(cls, type) and issubclass(cls, nn.Module) else None


class _Describer:
    """The stack machine of pickle, for the opcodes of torch.save and torch.jit.save."""

    def __init__(self, subject: str) -> None:
        self._subject = subject
        self._stack: list[Any] = []
        self._marked: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        self.storages: dict[str, StorageDescription] = {}

    def read(self, file: IO[bytes]) -> Any:
        start = file.tell()
        for count, (opcode, argument, position) in enumerate(pickletools.genops(file)):
            if count > MAX_OPCODES or (position or 0) - start > MAX_PICKLE_BYTES:
                raise CheckpointError(
                    f"{self._subject} describes more than can be read: at most {MAX_OPCODES} values in "
                    f"{MAX_PICKLE_BYTES} bytes.",
                    hint=STATE_DICT_HINT,
                )
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
            raise self._refusal(f"it appends to a {type(target).__name__}")
        target.extend(items)

    def _update(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) not in (dict, OrderedDict):
            raise self._refusal(f"it sets items of a {type(target).__name__}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[_checked_key(key)] = value

    def _add_items(self, _: object) -> None:
        items = self._since_mark()
        self._stack[-1].update(_set(items))

    def _global(self, module: str, name: str) -> None:
        module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
        value = _described(f"{module}.{name}")
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
        self._global(str(module), str(name))

    def _new_object(self, _: object) -> None:
        arguments, named = self._stack.pop(), self._stack.pop()
        if named.name in _CALLS or named.name in _PLACEHOLDERS:
            self._stack.append(self._result(named, arguments))
        elif arguments == () and named.name not in _ONLY_NAMED:
            self._stack.append(ObjectDescription(named.name))
        else:
            raise self._call_refused(named)

    def _call(self, _: object) -> None:
        arguments, named = self._stack.pop(), self._stack.pop()
        self._stack.append(self._result(named, arguments))

    def _result(self, named: ClassDescription, arguments: tuple[Any, ...]) -> object:
        if named.name in _PLACEHOLDERS:
            return placeholder_class(_PLACEHOLDERS[named.name])()
        if named.name == "torch._tensor._rebuild_from_type_v2":
            function, _type, inner, _state = arguments
            return self._result(function, inner)
        if named.name not in _CALLS:
            raise self._call_refused(named)
        return _CALLS[named.name](*arguments)

    def _call_refused(self, named: ClassDescription) -> UnsafeCheckpointError:
        return UnsafeCheckpointError(
            f"{self._subject} calls {shortened(named.name)}; nothing in a checkpoint is ever executed.",
            hint=STATE_DICT_HINT,
        )

    def _build(self, _: object) -> None:
        state, target = self._stack.pop(), self._stack[-1]
        if isinstance(target, ObjectDescription) and target.state is None:
            target.state = state
        # The state of an OrderedDict holds the versions of layers, which loading into today's layers does not need.
        elif not isinstance(target, Placeholder | OrderedDict):
            raise self._refusal(f"it sets the state of a {type(target).__name__}")

    def _persistent(self, _: object) -> None:
        kind, *facts = self._stack.pop()
        if kind == "module":
            raise CheckpointError(
                f"{self._subject} is a whole module in the container of torch 1.5.", hint=STATE_DICT_HINT
            )
        if kind != "storage":
            raise self._refusal("it refers to something outside the file")
        storage_type, key, location, numel, *view = facts
        if any(view):
            raise CheckpointError(f"{self._subject} has a view of a storage, as torch before 0.4 saved it.")
        if type(numel) is not int or numel < 0 or len(str(key)) > MAX_KEY_LENGTH:
            raise ValueError(f"storage {shortened(str(key))} has a {type(numel).__name__} for its length")
        storage = StorageDescription(str(key), _STORAGES[storage_type.name], shortened(location), numel)
        if self.storages.setdefault(storage.key, storage) != storage:
            raise CheckpointError(
                f"{self._subject} describes the storage {storage.key} in two ways.", hint=STATE_DICT_HINT
            )
        self._stack.append(storage)


_ARGUMENT = frozenset(
    {
        *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
        *("SHORT_BINSTRING", "BINSTRING", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
        *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
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


def _checked_key(key: object) -> object:
    if isinstance(key, str) and len(key) > MAX_KEY_LENGTH:
        raise CheckpointError(
            f"the checkpoint has the key {shortened(key)}; keys of up to {MAX_KEY_LENGTH} characters are accepted.",
            hint=STATE_DICT_HINT,
        )
    # Python hashes integers modulo 2**61 - 1, so large ones can be made to collide.
    if isinstance(key, int) and key.bit_length() > 64:
        raise CheckpointError("the checkpoint has an integer of more than 64 bits as a key.", hint=STATE_DICT_HINT)
    if not isinstance(key, str | int | float | bytes | tuple | None):
        raise CheckpointError(f"the checkpoint has a {type(key).__name__} as a key.", hint=STATE_DICT_HINT)
    return key


def _described(name: str) -> object | None:
    """Return what a name in the pickle stands for; None if it is none of the accepted names."""
    module, _, attribute = name.rpartition(".")
    if module == "torch" and isinstance(value := getattr(torch, attribute, None), torch.dtype | torch.qscheme):
        return value
    accepted = (
        name in _CALLS
        or name in _STORAGES
        or name in _PLACEHOLDERS
        or name in _WRAPPERS
        or name in _ONLY_NAMED
        or torch_layer(name) is not None
        or module.partition(".")[0] not in _RESERVED
    )
    return ClassDescription(name) if accepted else None


def _tensor(storage: StorageDescription, *facts: Any) -> TensorDescription:
    """Of offset, shape, strides, requires_grad, hooks and metadata; the first three are always there."""
    return _view(storage, storage.dtype, facts[:3], facts[5:])


def _tensor_of_type(storage: StorageDescription, *facts: Any) -> TensorDescription:
    """The same, with a type after the hooks."""
    return _view(storage, facts[5], facts[:3], facts[6:])


def _view(
    storage: StorageDescription, dtype: torch.dtype, layout: tuple[Any, ...], metadata: tuple[Any, ...]
) -> TensorDescription:
    if any(flag for flags in metadata if flags for flag in flags.values()):
        raise CheckpointError("a tensor is stored negated or conjugated.", hint="Save tensor.resolve_neg().")
    offset, shape, strides = layout
    return TensorDescription(storage, dtype, offset, shape, strides)


def _ordered_dict(pairs: list[tuple[Any, Any]] | None = None) -> OrderedDict[Any, Any]:
    """Of pairs, as Python 2 saved it."""
    return OrderedDict((_checked_key(key), value) for key, value in _taken(pairs))


def _set(items: list[Any] | None = None) -> set[Any]:
    return {_checked_key(item) for item in _taken(items)}


def _taken(items: list[Any] | None) -> list[Any]:
    """Return the items and empty their list, so that no pickle has a long list copied again and again."""
    if items is None:
        return []
    copy = items.copy()
    items.clear()
    return copy


def _parameter(data: Any, *_: object) -> object:
    if not isinstance(data, TensorDescription):
        return data
    return TensorDescription(data.storage, data.dtype, data.offset, data.shape, data.strides, is_parameter=True)


def _empty_sparse(*_: object) -> torch.Tensor:
    return torch.empty(0).to_sparse()


def _empty_quantized(*_: object) -> torch.Tensor:
    return torch._empty_affine_quantized([0], scale=1.0, zero_point=0, dtype=torch.quint8)


def _empty_meta(*_: object) -> torch.Tensor:
    return torch.empty(0, device="meta")


# The only functions whose calls mean something. Tensors of a kind that can't be used come back empty, and are then
# refused by name.
_CALLS: dict[str, Callable[..., object]] = {
    "builtins.set": _set,
    "collections.OrderedDict": _ordered_dict,
    "torch.Size": lambda sides: sides,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": lambda data, *_: data,
    "torch._utils._rebuild_meta_tensor_no_storage": _empty_meta,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._utils._rebuild_qtensor": _empty_quantized,
    "torch._utils._rebuild_sparse_tensor": _empty_sparse,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_of_type,
    "torch.jit._pickle.build_boollist": lambda values: values,
    "torch.jit._pickle.build_doublelist": lambda values: values,
    "torch.jit._pickle.build_intlist": lambda values: values,
    "torch.jit._pickle.build_tensorlist": lambda values: values,
    "torch.jit._pickle.restore_type_tag": lambda value, _type: value,
    "torch.nn.parameter.Parameter": _parameter,
}
_ONLY_NAMED = frozenset({"torch.Tensor", "torch._tensor.Tensor", "torch._tensor._rebuild_from_type_v2", *_STORAGES})
