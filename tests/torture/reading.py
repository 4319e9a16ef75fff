"""What the fork server calls: a checkpoint is read by the project, and by readers independent of it."""

from __future__ import annotations

import hashlib
import json
import pickle
import struct
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch  # noqa: F401 - loaded before the fork
import torch
from torch import Tensor, nn

from vgg_models import load_model
from vgg_models._torchvision import import_torchvision
from vgg_models.checkpoint.reading import read_checkpoint

import_torchvision()  # before the fork too

_LAYERS = [nn.Sequential, nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.Flatten, nn.Linear]
_DTYPES = {
    **{"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "BOOL": torch.bool},
    **{"I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8},
    **{"U64": torch.uint64, "U32": torch.uint32, "U16": torch.uint16, "U8": torch.uint8},
}

_PICKLED = {
    **{"OrderedDict": dict, "build_intlist": list, "_rebuild_tensor_v2": torch._utils._rebuild_tensor_v2},
    **{"FloatStorage": torch.float32, "LongStorage": torch.int64},
}


def read(path: Path) -> str:
    """Return the digest of the weights."""
    return digest(read_checkpoint(path, allow_nonfinite=True).state)


def load(path: Path) -> None:
    """Read it, recognise its architecture and run it."""
    load_model(path, input_size=28)


def read_independently(path: Path) -> str:
    """Return the digest of the weights as torch's own loader sees them; as a few lines do where it is of no use.

    Those are safetensors, and TorchScript, for which it has to compile code that a changed archive may not have.
    """
    content = path.read_bytes()
    if content[8:9] == b"{":
        return digest(_safetensors(content))
    if b"constants.pkl" in content:
        return digest(_torchscript(path))
    with torch.serialization.safe_globals(_LAYERS):
        saved: Any = torch.load(path, map_location="cpu", weights_only=True)
    saved = saved.state_dict() if isinstance(saved, nn.Module) else saved
    # A change of the key "state_dict" hides no weights.
    dicts = [saved, *(value for value in saved.values() if isinstance(value, dict))]
    return digest(next(each for each in dicts if any(isinstance(value, Tensor) for value in each.values())))


def unpickle(path: Path) -> None:
    """Run whatever the file asks for: a gadget that does nothing here would prove nothing."""
    torch.load(path, weights_only=False)


def _safetensors(content: bytes) -> dict[str, Tensor]:
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        start, end = (8 + length + offset for offset in entry["data_offsets"])
        numbers = torch.frombuffer(bytearray(content[start:end]), dtype=_DTYPES[entry["dtype"]])
        tensors[name] = numbers.reshape(entry["shape"])
    return tensors


def _torchscript(path: Path) -> dict[str, Tensor]:
    with zipfile.ZipFile(path) as archive:
        folder = next(name for name in archive.namelist() if name.endswith("/data.pkl")).removesuffix("data.pkl")

        class Unpickler(pickle.Unpickler):
            def find_class(self, module: str, name: str) -> Any:
                return type(name, (), {}) if module.startswith("__torch__") else _PICKLED[name]

            def persistent_load(self, pid: Any) -> Any:
                _, dtype, key, *_ = pid
                numbers = torch.frombuffer(bytearray(archive.read(f"{folder}data/{key}")), dtype=dtype)
                return torch.storage.TypedStorage(wrap_storage=numbers.untyped_storage(), dtype=dtype, _internal=True)

        return dict(_tensors(Unpickler(archive.open(f"{folder}data.pkl")).load(), ""))


def _tensors(module: object, prefix: str) -> Iterator[tuple[str, Tensor]]:
    for name, value in vars(module).items() if hasattr(module, "__dict__") else ():
        if isinstance(value, Tensor):
            yield f"{prefix}{name}", value
        else:
            yield from _tensors(value, f"{prefix}{name}.")


def digest(state: Mapping[str, Tensor]) -> str:
    """Of names, shapes and numbers, as the project casts them; in the order of the names."""
    result = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        single = tensor.detach().float() if tensor.is_floating_point() else tensor.detach()
        result.update(f"{name} {tuple(single.shape)} {single.dtype}".encode("utf-8", "replace"))
        result.update(single.contiguous().numpy().tobytes())
    return result.hexdigest()
