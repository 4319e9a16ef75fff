"""Read a file that torch.save wrote: descriptions first, tensors after."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import torch

from vgg_models.checkpoint.building import Builder
from vgg_models.checkpoint.container import Container
from vgg_models.checkpoint.descriptions import MAX_PICKLE_BYTES, StorageDescription, check_extent
from vgg_models.checkpoint.torch_archive import TorchArchive
from vgg_models.checkpoint.unpickling import PickleDescription, describe_pickle
from vgg_models.checkpoint.zip_directory import DAMAGE_HINT
from vgg_runtime.errors import CheckpointError

__all__ = ["TorchFile", "read_torch_file"]

_LEGACY_PROTOCOL = 1001  # PROTOCOL_VERSION in torch/serialization.py


@dataclass(frozen=True)
class TorchFile:
    """The saved object, with every tensor on the CPU.

    Attributes:
        devices: those that the tensors were saved on.
        checked: whether the file has checksums, which its bytes were compared with.
    """

    content: object
    devices: tuple[str, ...]
    checked: bool


def read_torch_file(path: Path, container: Container) -> TorchFile:
    """Read a TORCH_ZIP or TORCH_LEGACY file. The weights of a zip file are mapped, not copied.

    Raises:
        UnsafeCheckpointError: the pickle names something that could run code.
        CheckpointError: torch.save did not write the file, or its records are not those of its tensors. A damaged file
            may raise any other exception too.
    """
    return _read_zip(path) if container is Container.TORCH_ZIP else _read_legacy(path)


def _read_zip(path: Path) -> TorchFile:
    archive = TorchArchive(path)
    description = archive.describe("data.pkl")
    content = Builder(archive.map_storages(description.storages)).build(description.content)
    return TorchFile(content, _devices(description), archive.has_checksums)


def _devices(description: PickleDescription) -> tuple[str, ...]:
    return tuple(sorted({storage.location for storage in description.storages.values()}))


def _read_legacy(path: Path) -> TorchFile:
    """The file is five pickles (magic number, protocol, system, the object, the storage keys), then the storages."""
    with path.open("rb") as file:
        pickles = io.BytesIO(file.read(MAX_PICKLE_BYTES))
        _magic, protocol, system, description, keys = (describe_pickle(pickles, str(path)) for _ in range(5))
        file.seek(pickles.tell())
        if protocol.content != _LEGACY_PROTOCOL or system.content["little_endian"] is not True:
            raise CheckpointError(f"{path} is not of the form that torch 1.5 and older wrote.", hint=DAMAGE_HINT)
        check_extent(description.content)
        if sorted(keys.content) != sorted(description.storages):
            raise CheckpointError(f"{path} has other storages than its tensors have.", hint=DAMAGE_HINT)
        storages = {key: _read_storage(file, path, description.storages[key]) for key in keys.content}
    return TorchFile(Builder(storages).build(description.content), _devices(description), checked=False)


def _read_storage(file: IO[bytes], path: Path, storage: StorageDescription) -> torch.UntypedStorage:
    """The number of elements, 64 bits, and then the elements."""
    (numel,) = struct.unpack("<q", file.read(8))
    available = path.stat().st_size - file.tell()
    if numel != storage.numel or storage.nbytes > available:
        raise CheckpointError(
            f"{path} is truncated or damaged: its storage {storage.key} has {numel} numbers in {available} bytes, "
            f"and is described as {storage.numel} of {storage.dtype}.",
            hint=DAMAGE_HINT,
        )
    content = torch.empty(storage.nbytes, dtype=torch.uint8)
    file.readinto(content.numpy())  # type: ignore[attr-defined]
    return content.untyped_storage()
