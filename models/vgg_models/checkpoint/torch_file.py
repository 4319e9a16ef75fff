"""Open a file that torch.save wrote, always with ``weights_only=True``."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch.serialization import safe_globals

from vgg_models.checkpoint.container import Container
from vgg_models.checkpoint.files import check_zip_entries
from vgg_models.checkpoint.unpickling import modern_name, pickled_globals, substitutes
from vgg_runtime.errors import CheckpointError, UnsafeCheckpointError

__all__ = ["TorchFile", "read_torch_file"]

# torch has one list of allowed classes for the whole process.
_SAFE_GLOBALS = threading.Lock()

_STATE_DICT_HINT = "Save only the weights, and load that file: torch.save(model.state_dict(), path)."


@dataclass(frozen=True)
class TorchFile:
    """The saved object, with every tensor on the CPU, and the devices that the tensors were saved on."""

    content: object
    devices: tuple[str, ...]


def read_torch_file(path: Path, container: Container) -> TorchFile:
    """Read a TORCH_ZIP or TORCH_LEGACY file. The weights of a zip file are mapped, not copied.

    Raises:
        UnsafeCheckpointError: the pickle names something that could run code.
        CheckpointError: torch.save did not write the file. A damaged file may raise any other exception too.
    """
    if container is Container.TORCH_ZIP:
        check_zip_entries(path)
    names = pickled_globals(path, container)
    devices: set[str] = set()

    def keep_on_cpu(storage: Any, location: str) -> Any:
        devices.add(location)
        return storage

    # torch.load takes a path with this suffix for safetensors, whatever the contents.
    mapped = container is Container.TORCH_ZIP and path.suffix != ".safetensors"
    try:
        with _SAFE_GLOBALS, safe_globals(substitutes(names)), path.open("rb") as file:
            source = path if mapped else file
            content = torch.load(source, map_location=keep_on_cpu, weights_only=True, mmap=mapped)
    except UnpicklingError as error:
        raise _explain_refusal(path, error) from error
    return TorchFile(content, tuple(sorted(devices)))


def _explain_refusal(path: Path, error: UnpicklingError) -> CheckpointError:
    text = str(error)
    named = re.search(r"GLOBAL (\S+)", text)
    if named:
        module, _, attribute = named[1].rpartition(".")
        blocked = modern_name(module or "builtins", attribute)  # torch's message omits "builtins."
        return UnsafeCheckpointError(
            f"{path} names {blocked}, which could run code. Accepted are tensors, plain Python values, "
            "torch.nn layers, and classes of your own made of them. Nothing in the file was executed.",
            hint=_STATE_DICT_HINT,
        )
    if "persistent_load of storage" in text:
        return CheckpointError(f"{path} is a whole module in the container of torch 1.5.", hint=_STATE_DICT_HINT)
    reason = text.rpartition("WeightsUnpickler error:")[2].strip().splitlines()[0]
    return UnsafeCheckpointError(f"{path} can't be read safely: {reason}", hint=_STATE_DICT_HINT)
