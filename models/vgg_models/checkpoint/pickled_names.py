"""What the names in a pickle stand for. A name outside these tables is refused."""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from vgg_models.checkpoint.descriptions import (
    MAX_KEY_LENGTH,
    STATE_DICT_HINT,
    ClassDescription,
    Placeholder,
    StorageDescription,
    TensorDescription,
)
from vgg_runtime._internal.shortening import shortened
from vgg_runtime.errors import CheckpointError

__all__ = ["STORAGES", "checked_key", "describe_name", "set_of", "torch_layer"]

STORAGES = {
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

# Values that are not needed: what training loops save besides the weights, and what a call could make large. Messages
# call a value by the name of its class.
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
    "functools.partial": "partial",
    "numpy._core.multiarray._reconstruct": "ndarray",
    "numpy._core.multiarray.scalar": "scalar",
    "numpy._core.numeric._frombuffer": "ndarray",
    "numpy.core.multiarray._reconstruct": "ndarray",
    "numpy.core.multiarray.scalar": "scalar",
    "numpy.core.numeric._frombuffer": "ndarray",
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
    "torch.torch_version.TorchVersion": "TorchVersion",
}

# Wrappers that are modules of torch, but outside torch.nn.modules: only their child `module` is needed.
_WRAPPERS = frozenset({"torch.nn.parallel.data_parallel.DataParallel"})

# What is named, but neither called nor made an instance of.
_TYPES = frozenset({"torch.Tensor", "torch._tensor.Tensor", *STORAGES})

# Refused, unless a table has them; any other module is the user's own.
_RESERVED = frozenset({*sys.stdlib_module_names, "torch", "numpy"})


def describe_name(name: str) -> object | None:
    """Return what a full name stands for: a dtype, or a ClassDescription; None if it could run code."""
    module, _, attribute = name.rpartition(".")
    # Not getattr, with which torch imports some of its modules.
    if module == "torch" and isinstance(value := vars(torch).get(attribute), torch.dtype | torch.qscheme):
        return value
    is_users_own = module.partition(".")[0] not in _RESERVED
    has_instances = is_users_own or name in _WRAPPERS or torch_layer(name) is not None
    if has_instances or name in _MEANINGS or name in _TYPES:
        return ClassDescription(name, _MEANINGS.get(name), has_instances)
    return None


def torch_layer(name: str) -> type[nn.Module] | None:
    """Return torch's layer of that full name, if torch has imported it; a name in a file must not cause an import."""
    module, _, attribute = name.rpartition(".")
    if not module.startswith("torch.nn.modules."):
        return None
    cls = getattr(sys.modules.get(module), attribute, None)
    return cls if isinstance(cls, type) and issubclass(cls, nn.Module) else None


def checked_key(key: Any) -> Any:
    """Return the key of a dict, or the member of a set, if it takes no long time to hash and to show.

    Raises:
        CheckpointError: it is long, or neither a plain value nor a short tuple of such values.
    """
    if isinstance(key, str | bytes) and len(key) > MAX_KEY_LENGTH:
        raise CheckpointError(
            f"the checkpoint has the key {shortened(str(key))}; at most {MAX_KEY_LENGTH} are read.",
            hint=STATE_DICT_HINT,
        )
    # Python hashes integers modulo 2**61 - 1, so large ones can be made to collide.
    if isinstance(key, int) and key.bit_length() > 64:
        raise CheckpointError("the checkpoint has an integer of more than 64 bits as a key.", hint=STATE_DICT_HINT)
    is_short = isinstance(key, tuple) and len(key) <= 10 and not any(isinstance(part, tuple) for part in key)
    # A tuple of tuples, each twice in the next, is hashed in 2**depth steps.
    if not is_short and not isinstance(key, str | int | float | bytes | None):
        raise CheckpointError(f"the checkpoint has a {type(key).__name__} as a key.", hint=STATE_DICT_HINT)
    return tuple(map(checked_key, key)) if is_short else key


def set_of(items: list[Any] | None = None) -> set[Any]:
    """Return the items as a set."""
    return {checked_key(item) for item in _moved(items)}


def _ordered_dict(pairs: list[tuple[Any, Any]] | None = None) -> OrderedDict[Any, Any]:
    """Of pairs, as Python 2 saved it."""
    return OrderedDict((checked_key(key), value) for key, value in _moved(pairs))


def _moved(items: list[Any] | None) -> list[Any]:
    """Return the items and empty their list, so that no pickle has a long list copied again and again."""
    if items is None:
        return []
    moved = items.copy()
    items.clear()
    return moved


def _placeholder(kind: str) -> Callable[..., object]:
    cls = type(kind, (Placeholder,), {})
    return lambda *_: cls()


def _tensor(storage: StorageDescription, offset: Any, shape: Any, strides: Any) -> TensorDescription:
    return TensorDescription(storage, storage.dtype, offset, shape, strides)


def _tensor_v2(
    storage: StorageDescription, offset: Any, shape: Any, strides: Any, _gradient: Any, _hooks: Any, flags: Any = None
) -> TensorDescription:
    _refuse_flags(flags)
    return _tensor(storage, offset, shape, strides)


def _tensor_v3(  # noqa: PLR0917 - as torch calls it
    storage: StorageDescription,
    offset: Any,
    shape: Any,
    strides: Any,
    _gradient: Any,
    _hooks: Any,
    dtype: torch.dtype,
    flags: Any = None,
) -> TensorDescription:
    _refuse_flags(flags)
    return TensorDescription(storage, dtype, offset, shape, strides)


def _refuse_flags(flags: Any) -> None:
    if flags and any(flags.values()):
        raise CheckpointError("a tensor is stored negated or conjugated.", hint="Save tensor.resolve_neg().")


def _with_attributes(rebuild: ClassDescription, _type: object, arguments: Any, _attributes: object) -> object:
    return rebuild.called(arguments)


def _parameter(data: Any, _gradient: object = True) -> object:
    return replace(data, is_parameter=True) if isinstance(data, TensorDescription) else data


def _same(value: object) -> object:
    return value


def _empty_sparse(*_: object) -> torch.Tensor:
    return torch.empty(0).to_sparse()


def _empty_quantized(*_: object) -> torch.Tensor:
    return torch._empty_affine_quantized([0], scale=1.0, zero_point=0, dtype=torch.quint8)


def _empty_meta(*_: object) -> torch.Tensor:
    return torch.empty(0, device="meta")


# What a call describes. What is read takes the arguments that torch's own functions take, and no others. Tensors of a
# kind that can't be used come back empty, and are then refused by name.
_MEANINGS: dict[str, Callable[..., object]] = {
    **{name: _placeholder(kind) for name, kind in _PLACEHOLDERS.items()},
    "builtins.set": set_of,
    "collections.OrderedDict": _ordered_dict,
    "torch.Size": _same,
    "torch._tensor._rebuild_from_type_v2": _with_attributes,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": lambda data, _dtype, _device, _gradient: data,
    "torch._utils._rebuild_meta_tensor_no_storage": _empty_meta,
    "torch._utils._rebuild_parameter": lambda data, _gradient, _hooks: _parameter(data),
    "torch._utils._rebuild_parameter_with_state": lambda data, _gradient, _hooks, _state: _parameter(data),
    "torch._utils._rebuild_qtensor": _empty_quantized,
    "torch._utils._rebuild_sparse_tensor": _empty_sparse,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor_v2,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
    "torch.jit._pickle.build_boollist": _same,
    "torch.jit._pickle.build_doublelist": _same,
    "torch.jit._pickle.build_intlist": _same,
    "torch.jit._pickle.build_tensorlist": _same,
    "torch.jit._pickle.restore_type_tag": lambda value, _tag: value,
    "torch.nn.parameter.Parameter": _parameter,
}
