"""The pickle and the storages of a zip file that torch.save or torch.jit.save wrote."""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from vgg_models.checkpoint.descriptions import MAX_PICKLE_BYTES, StorageDescription, check_extent
from vgg_models.checkpoint.unpickling import PickleDescription, describe_pickle
from vgg_models.checkpoint.zip_directory import DAMAGE_HINT, ZipDirectory, ZipRecord
from vgg_runtime.errors import CheckpointError

__all__ = ["TorchArchive"]

# torch writes storages at multiples of 64 bytes. Elsewhere, numbers in memory are not safe to read on every processor.
_ALIGNMENT = 16
_VERSIONS = [b"%d" % version for version in range(1, 11)]  # those of caffe2/serialize/versions.h
# torch writes 40 digits, which it reads before anything else.
_MAX_IDENTIFIER_BYTES = 1024


class TorchArchive(ZipDirectory):
    """An archive whose storages are mapped into memory, after they were held against what is described.

    Raises:
        CheckpointError: it is not of a version that PyTorch reads, or its entries are not as torch writes them.
    """

    def __init__(self, path: Path, *, compressed: tuple[str, ...] = ()) -> None:
        super().__init__(path, compressed=compressed)
        record = self.records.get(".data/version") or self.records.get("version")
        version = b"" if record is None else record.read(at_most=16).strip()
        if version not in _VERSIONS:
            raise CheckpointError(
                f"{path} states the version {version.decode(errors='replace')!r} of its format, which PyTorch does not "
                "know.",
                hint=DAMAGE_HINT,
            )
        identifier = self.records.get(".data/serialization_id")
        if identifier is not None and not _is_text(identifier.read(at_most=_MAX_IDENTIFIER_BYTES)):
            raise CheckpointError(f"{path} has an entry {identifier.name} that is no text.", hint=DAMAGE_HINT)
        alignment = self.records.get(".storage_alignment")
        if alignment is not None and not alignment.read(at_most=16).strip().isdigit():
            raise CheckpointError(f"{path} has an entry {alignment.name} that is no number.", hint=DAMAGE_HINT)

    def describe(self, name: str) -> PickleDescription:
        """Return the contents of a pickle in it, within the caps.

        Raises:
            CheckpointError: the archive lacks it, or its contents exceed the caps.
            UnsafeCheckpointError: the pickle names something that could run code.
        """
        pickled = self._record(name).read(at_most=MAX_PICKLE_BYTES)
        description = describe_pickle(io.BytesIO(pickled), str(self.path))
        check_extent(description.content)
        return description

    def records_of(self, storages: Mapping[str, StorageDescription], folder: str = "data") -> dict[str, ZipRecord]:
        """Return the entries of storages that a pickle describes, which are in ``folder``. Their bytes are not read.

        Raises:
            CheckpointError: a storage has no entry in the archive, or one of another size.
        """
        return {key: self._record_of(f"{folder}/{key}", storage) for key, storage in storages.items()}

    def map_storages(self, storages: Mapping[str, StorageDescription]) -> dict[str, torch.UntypedStorage]:
        """Return the bytes of each storage, mapped from the file where their position is aligned.

        Raises:
            CheckpointError: a storage has no entry in the archive, or one of another size or with other bytes.
        """
        records = self.records_of(storages)
        for record in records.values():
            record.require_checksum()
        mapped: Any = torch.UntypedStorage.from_file(str(self.path), shared=False, nbytes=self.path.stat().st_size)
        parts = {key: mapped[record.start : record.start + record.size] for key, record in records.items()}
        if self._byte_order() != sys.byteorder:
            return {key: _swapped(part, storages[key].dtype) for key, part in parts.items()}
        return {key: part.clone() if records[key].start % _ALIGNMENT else part for key, part in parts.items()}

    def _byte_order(self) -> str:
        record = self.records.get("byteorder")
        order = "little" if record is None else record.read(at_most=16).decode()
        if order not in ("little", "big"):
            raise CheckpointError(f"{self.path} has numbers of the unknown byte order {order!r}.", hint=DAMAGE_HINT)
        return order

    def _record(self, name: str) -> ZipRecord:
        if name not in self.records:
            raise CheckpointError(f"{self.path} lacks the entry {name}.", hint=DAMAGE_HINT)
        return self.records[name]

    def _record_of(self, name: str, storage: StorageDescription) -> ZipRecord:
        record = self._record(name)
        if record.size != storage.nbytes:
            raise CheckpointError(
                f"{self.path} has {record.size} bytes in its entry {record.name}, whose tensors are described as "
                f"{storage.nbytes} bytes ({storage.numel} of {storage.dtype}).",
                hint=DAMAGE_HINT,
            )
        return record


def _is_text(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def _swapped(part: Any, dtype: torch.dtype) -> torch.UntypedStorage:
    storage: torch.UntypedStorage = part.clone()
    storage.byteswap(dtype)  # type: ignore[no-untyped-call]
    return storage
