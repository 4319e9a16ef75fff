"""The directory of an archive is held against the archive; what it does not describe to the byte is refused."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from vgg_models.checkpoint.zip_directory import ZipDirectory
from vgg_runtime.errors import CheckpointError

STORED, DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED

Zipped = Callable[..., Path]


@pytest.fixture
def zipped(tmp_path: Path) -> Zipped:
    """Write an archive of the given entries."""

    def write(entries: dict[str, bytes], compression: int = STORED) -> Path:
        path = tmp_path / "a.zip"
        with zipfile.ZipFile(path, "w", compression) as archive:
            for name, content in entries.items():
                archive.writestr(name, content)
        return path

    return write


def edited(path: Path, edit: Callable[[zipfile.ZipInfo], None]) -> Path:
    """The archive with another directory, made by ``edit`` of every entry of it."""
    with zipfile.ZipFile(path, "a") as archive:
        for entry in archive.infolist():
            edit(entry)
        archive._didModify = True  # type: ignore[attr-defined]
    return path


def incremented(path: Path, signature: bytes, at: int) -> Path:
    """The archive with one byte more by 1: that many behind the last ``signature``."""
    content = bytearray(path.read_bytes())
    content[content.rindex(signature) + at] += 1
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("content", [b"", b"a", b"x" * (1 << 20), b"x" * (1 << 20) + b"y"])
def test_a_record_is_the_bytes_of_its_entry(zipped: Zipped, content: bytes) -> None:
    path = zipped({"a/before": b"1", "a/data": content, "a/behind": b"2"})
    record = ZipDirectory(path).records["data"]
    assert path.read_bytes()[record.start : record.start + record.size] == content
    assert record.read(at_most=len(content)) == content
    record.require_checksum()


@pytest.mark.parametrize("at", [0, 1 << 20, (1 << 20) + 5])
def test_a_flipped_bit_anywhere_in_a_record_is_refused(zipped: Zipped, at: int) -> None:
    path = zipped({"a/data": bytes((1 << 20) + 6)})
    record = ZipDirectory(path).records["data"]
    content = bytearray(path.read_bytes())
    content[record.start + at] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="bytes of its entry a/data are not those that were written"):
        record.require_checksum()
    with pytest.raises(CheckpointError, match="bytes of its entry a/data are not those that were written"):
        record.read(at_most=1 << 21)


def test_a_record_cut_off_after_it_was_listed_is_refused(zipped: Zipped) -> None:
    path = zipped({"a/data": b"12345"})
    record = ZipDirectory(path).records["data"]
    path.write_bytes(path.read_bytes()[: record.start + 4])
    with pytest.raises(CheckpointError, match="not those that were written"):
        record.require_checksum()


@pytest.mark.parametrize("compression", [STORED, DEFLATED])
def test_a_record_larger_than_asked_for_is_not_read(zipped: Zipped, compression: int) -> None:
    record = ZipDirectory(zipped({"a/code/x": b"x" * 1000}, compression), compressed=("code/",)).records["code/x"]
    assert len(record.read(at_most=1000)) == 1000
    with pytest.raises(CheckpointError, match="has 1000 bytes in its entry a/code/x; at most 999 are read"):
        record.read(at_most=999)


def test_a_record_that_grows_beyond_its_size_is_refused(zipped: Zipped) -> None:
    def shrink(entry: zipfile.ZipInfo) -> None:
        entry.file_size, entry.CRC = 10, 0

    path = edited(zipped({"a/code/x": b"x" * 1000}, DEFLATED), shrink)
    with pytest.raises(CheckpointError, match="not those that were written"):
        ZipDirectory(path, compressed=("code/",)).records["code/x"].read(at_most=1000)


@pytest.mark.parametrize("names", [["a/data"], ["a/code/x", "a/data"], ["a/encode/x"]])
def test_compressed_entries_are_refused_but_for_named_folders(zipped: Zipped, names: list[str]) -> None:
    with pytest.raises(CheckpointError, match=f"has compressed entries: {names[-1]}; torch.save stores"):
        ZipDirectory(zipped(dict.fromkeys(names, b"x" * 100), DEFLATED), compressed=("code/",))


def test_another_compression_than_deflate_is_refused(zipped: Zipped) -> None:
    with pytest.raises(CheckpointError, match="has compressed entries: a/code/x"):
        ZipDirectory(zipped({"a/code/x": b"x" * 100}, zipfile.ZIP_LZMA), compressed=("code/",))


def test_a_stored_entry_of_two_sizes_is_refused(zipped: Zipped) -> None:
    def grow(entry: zipfile.ZipInfo) -> None:
        entry.file_size += 1

    with pytest.raises(CheckpointError, match="has compressed entries: a/data"):
        ZipDirectory(edited(zipped({"a/data": b"x" * 100}), grow))


def test_an_encrypted_entry_is_refused(zipped: Zipped) -> None:
    def encrypt(entry: zipfile.ZipInfo) -> None:
        entry.flag_bits |= 1

    with pytest.raises(CheckpointError, match="has encrypted entries: a/data"):
        ZipDirectory(edited(zipped({"a/data": b"x"}), encrypt))


def test_an_entry_on_another_disk_is_refused(zipped: Zipped) -> None:
    path = incremented(zipped({"a/data": b"x", "a/other": b"y"}), b"PK\x01\x02", 34)
    with pytest.raises(CheckpointError, match="has entries on another disk: a/other"):
        ZipDirectory(path)


@pytest.mark.parametrize("at", [4, 6, 8, 10])  # two disks, and how many entries are here and in all
def test_an_end_of_another_directory_is_refused(zipped: Zipped, at: int) -> None:
    path = incremented(zipped({"a/data": b"x", "a/other": b"y"}), b"PK\x05\x06", at)
    with pytest.raises(CheckpointError, match="has 2 entries in its directory, and ends with other numbers"):
        ZipDirectory(path)


@pytest.mark.parametrize("at", [16, 20, 24, 32])
def test_an_end_of_64_bits_of_another_directory_is_refused(tmp_path: Path, at: int) -> None:
    path = tmp_path / "a.pth"
    torch.save({"a": torch.zeros(2)}, path)
    ZipDirectory(path)
    incremented(path, b"PK\x06\x06", at)
    with pytest.raises((CheckpointError, zipfile.BadZipFile), match=r"ends with other numbers|multiple disks"):
        ZipDirectory(path)


@pytest.mark.parametrize("comment", [b"", b"c" * 65535])
def test_an_archive_may_have_a_comment(zipped: Zipped, comment: bytes) -> None:
    path = zipped({"a/data": b"x"})
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = comment
    assert list(ZipDirectory(path).records) == ["data"]


@pytest.mark.parametrize("name", ["x/a/other", "other", "b/other"])
def test_an_entry_outside_the_folder_is_refused(zipped: Zipped, name: str) -> None:
    with pytest.raises(CheckpointError, match=f"has entries outside the folder of the first: {name}"):
        ZipDirectory(zipped({"a/data": b"x", name: b"y"}))


@pytest.mark.parametrize("folder", ["größe", "模型", "plain"])
def test_the_folder_of_an_archive_may_have_any_name(zipped: Zipped, folder: str) -> None:
    assert list(ZipDirectory(zipped({f"{folder}/data": b"x"})).records) == ["data"]


def test_a_name_of_before_unicode_is_read(zipped: Zipped) -> None:
    path = zipped({"folder/data": b"x"})
    path.write_bytes(path.read_bytes().replace(b"folder", b"gr\x94\xe1en"))  # code page 437
    assert [record.name for record in ZipDirectory(path).records.values()] == ["größen/data"]


def test_entries_of_one_name_in_two_folders_are_refused(zipped: Zipped) -> None:
    with pytest.raises(CheckpointError, match="several entries with the same name: a/data, b/data"):
        ZipDirectory(zipped({"a/data": b"x", "b/data": b"y", "a/other": b"z"}))


@pytest.mark.parametrize("offset", [-1, 1])
def test_an_entry_beside_its_header_is_refused(zipped: Zipped, offset: int) -> None:
    def move(entry: zipfile.ZipInfo) -> None:
        if entry.filename == "a/2":
            entry.header_offset += offset

    with pytest.raises(CheckpointError, match="has entries that are not where its directory says: a/2"):
        ZipDirectory(edited(zipped({"a/1": b"x", "a/2": b"y", "a/3": b"z"}), move))


def test_an_entry_without_a_header_is_refused(zipped: Zipped) -> None:
    path = zipped({"a/1": b"x", "a/2": b"y"})
    start, content = ZipDirectory(path).records["2"].start, path.read_bytes()
    at = content.rindex(b"PK\x03\x04", 0, start)
    path.write_bytes(content[:at] + b"PK\x03\x05" + content[at + 4 :])
    with pytest.raises(CheckpointError, match="has entries that are not where its directory says: a/2"):
        ZipDirectory(path)


@pytest.mark.parametrize("name", ["a/1", "a/2"])
def test_an_entry_one_byte_too_long_is_refused(zipped: Zipped, name: str) -> None:
    def lengthen(entry: zipfile.ZipInfo) -> None:
        if entry.filename == name:
            entry.file_size += 1
            entry.compress_size += 1

    with pytest.raises(CheckpointError, match=f"has entries that overlap what follows: {name}"):
        ZipDirectory(edited(zipped({"a/1": b"x", "a/2": b"y"}), lengthen))


def test_an_archive_without_checksums_is_one(zipped: Zipped) -> None:
    def forget(entry: zipfile.ZipInfo) -> None:
        entry.CRC = 0

    path = zipped({"a/data": b"x"})
    assert ZipDirectory(path).has_checksums
    directory = ZipDirectory(edited(path, forget))
    assert not directory.has_checksums
    assert directory.records["data"].read(at_most=1) == b"x"
    directory.records["data"].require_checksum()
