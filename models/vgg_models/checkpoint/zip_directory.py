"""The directory of a zip file: which bytes belong to which entry, and whether they are those that were written."""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from collections import Counter
from pathlib import Path

from vgg_runtime._internal.shortening import listed, shortened
from vgg_runtime.errors import CheckpointError

__all__ = ["DAMAGE_HINT", "ZipDirectory", "ZipRecord"]

_LOCAL_HEADER = struct.Struct("<4s5H3I2H")  # APPNOTE.TXT 4.3.7; the last two are the lengths of name and extra field
# What ends the directory (4.3.14 to 4.3.16): the numbers of two disks, both 0, and of entries here and in all.
# A record of 64 bits, which may be missing, and its locator of 20 bytes stand before the other record.
_END64, _END = struct.Struct("<16x2L2Q16x"), struct.Struct("<4x4H10x")
_BETWEEN_ENDS = _END64.size + 20
_MAX_COMMENT = 0xFFFF
_ENCRYPTED = 0x1
_CHUNK = 1 << 20
_HINT = "Load it in the environment it was made in, and save it again with torch.save."
DAMAGE_HINT = "Check that the download or the copy is complete, or save the checkpoint again."


class ZipRecord:
    """The bytes of one entry: ``size`` from ``start`` on, counted in the file.

    Args:
        is_checked: whether the entry has a checksum.
    """

    def __init__(self, path: Path, entry: zipfile.ZipInfo, start: int, *, is_checked: bool) -> None:
        self.name, self.start, self.size = entry.filename, start, entry.compress_size
        self._path, self._entry, self._is_checked = path, entry, is_checked

    def read(self, *, at_most: int) -> bytes:
        """Return the contents, decompressed and checked.

        Raises:
            CheckpointError: they are larger than ``at_most`` bytes, or not those that were written.
        """
        if max(self._entry.file_size, self.size) > at_most:
            raise CheckpointError(
                f"{self._path} has {self._entry.file_size} bytes in its entry {self._entry.filename}; "
                f"at most {at_most} are read.",
                hint=_HINT,
            )
        with self._path.open("rb") as file:
            file.seek(self.start)
            content = file.read(self.size)
        if self._entry.compress_type == zipfile.ZIP_DEFLATED:
            content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, self._entry.file_size + 1)
        if len(content) != self._entry.file_size or (self._is_checked and zlib.crc32(content) != self._entry.CRC):
            raise self._damage()
        return content

    def require_checksum(self) -> None:
        """Raise CheckpointError if the bytes of a stored entry are not those of its CRC-32."""
        if not self._is_checked:
            return
        crc, left = 0, self.size
        buffer = memoryview(bytearray(min(_CHUNK, left)))
        with self._path.open("rb", buffering=0) as file:
            file.seek(self.start)
            while left and (length := file.readinto(buffer[:left])):
                crc = zlib.crc32(buffer[:length], crc)
                left -= length
        if left or crc != self._entry.CRC:
            raise self._damage()

    def _damage(self) -> CheckpointError:
        return CheckpointError(
            f"{self._path} is damaged: the bytes of its entry {shortened(self.name)} are not those that were written "
            "(their CRC-32 differs).",
            hint=DAMAGE_HINT,
        )


class ZipDirectory:
    """A zip file that torch wrote, its entries by their names without the folder that all of them are in.

    Args:
        compressed: the folders whose entries may be compressed, such as "code/".

    Raises:
        CheckpointError: entries are compressed, encrypted, of the same name, in several folders or on another disk,
            overlapping, cut off, or without their own header.
    """

    def __init__(self, path: Path, *, compressed: tuple[str, ...] = ()) -> None:
        self.path = path
        with zipfile.ZipFile(path) as archive:
            entries = sorted(archive.infolist(), key=lambda entry: entry.header_offset)
            directory_start = archive.start_dir
        self._refuse(
            "compressed entries: {names}; torch.save stores them uncompressed",
            [entry.filename for entry in entries if _is_compressed(entry, compressed)],
        )
        self._refuse(
            "encrypted entries: {names}", [entry.filename for entry in entries if entry.flag_bits & _ENCRYPTED]
        )
        self._require_end(len(entries))
        self._refuse("entries on another disk: {names}", [entry.filename for entry in entries if entry.volume])
        counts = Counter(_inner_name(entry.filename) for entry in entries)
        self._refuse(
            "several entries with the same name: {names}",
            list(dict.fromkeys(entry.filename for entry in entries if counts[_inner_name(entry.filename)] > 1)),
        )
        folder = entries[0].filename.partition("/")[0] + "/" if entries else ""
        self._refuse(
            "entries outside the folder of the first: {names}",
            [entry.filename for entry in entries if not entry.filename.startswith(folder)],
        )
        # torch.serialization.set_crc32_options(False) writes 0 for each.
        self.has_checksums = any(entry.CRC for entry in entries)
        records = self._locate(entries)
        limits = [*(entry.header_offset for entry in entries[1:]), directory_start]
        pairs = zip(records, limits, strict=True)
        self._refuse(
            "entries that overlap what follows: {names}",
            [record.name for record, limit in pairs if record.start + record.size > limit],
        )
        self.records = {_inner_name(record.name): record for record in records}

    def _refuse(self, fault: str, names: list[str]) -> None:
        if names:
            raise CheckpointError(f"{self.path} has {fault.format(names=listed(names))}.", hint=_HINT)

    def _require_end(self, count: int) -> None:
        """Require what the directory ends with to describe it, as torch reads no more entries than that says."""
        with self.path.open("rb") as file:
            longest = _BETWEEN_ENDS + _END.size + _MAX_COMMENT
            file.seek(-min(longest, self.path.stat().st_size), os.SEEK_END)
            tail = file.read()
        end = tail.rfind(b"PK\x05\x06")
        is_right = _END.unpack_from(tail, end) in ((0, 0, count, count), (0, 0, 0xFFFF, 0xFFFF))
        end64 = end - _BETWEEN_ENDS
        if end64 >= 0 and tail.startswith(b"PK\x06\x06", end64):
            is_right = is_right and _END64.unpack_from(tail, end64) == (0, 0, count, count)
        if not is_right:
            raise CheckpointError(
                f"{self.path} has {count} entries in its directory, and ends with other numbers.", hint=DAMAGE_HINT
            )

    def _locate(self, entries: list[zipfile.ZipInfo]) -> list[ZipRecord]:
        records, faults = [], []
        size = self.path.stat().st_size
        with self.path.open("rb") as file:
            for entry in entries:
                file.seek(entry.header_offset)
                header = file.read(_LOCAL_HEADER.size)
                magic, *_, name_length, extra_length = _LOCAL_HEADER.unpack(header)
                name = file.read(name_length).decode("utf-8" if entry.flag_bits & 0x800 else "cp437")
                start = entry.header_offset + _LOCAL_HEADER.size + name_length + extra_length
                if magic != b"PK\x03\x04" or name != entry.orig_filename or start + entry.compress_size > size:
                    faults.append(entry.filename)
                records.append(ZipRecord(self.path, entry, start, is_checked=self.has_checksums))
        self._refuse("entries that are not where its directory says: {names}", faults)
        return records


def _is_compressed(entry: zipfile.ZipInfo, allowed: tuple[str, ...]) -> bool:
    if entry.compress_type == zipfile.ZIP_STORED:
        return entry.compress_size != entry.file_size
    return entry.compress_type != zipfile.ZIP_DEFLATED or not _inner_name(entry.filename).startswith(allowed)


def _inner_name(name: str) -> str:
    return name.partition("/")[2]
