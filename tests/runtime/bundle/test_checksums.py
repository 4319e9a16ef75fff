from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from vgg_runtime.bundle.checksums import PendingChecksums, sha256_of
from vgg_runtime.errors import BundleError

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model").write_bytes(b"abc")
    (tmp_path / "weights").write_bytes(bytes(20 * 2**20 + 1))  # more than one chunk, and a rest
    return tmp_path


@pytest.fixture
def expected() -> dict[str, str]:
    return {"model": ABC, "weights": hashlib.sha256(bytes(20 * 2**20 + 1)).hexdigest()}


def test_the_digest_is_that_of_the_standard(folder: Path) -> None:
    assert sha256_of(folder / "model") == ABC


def test_files_that_are_as_expected_pass(folder: Path, expected: dict[str, str]) -> None:
    pending = PendingChecksums(folder, expected)
    pending.require_same_files()
    pending.require_digests()
    pending.require_digests()


@pytest.mark.parametrize("name", ["model", "weights"])
def test_a_file_with_another_digest_is_named(folder: Path, expected: dict[str, str], name: str) -> None:
    with (folder / name).open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\1")
    pending = PendingChecksums(folder, expected)
    pending.require_same_files()
    for _ in range(2):  # it is refused for good
        with pytest.raises(BundleError, match=rf"changed after it was written: {name} \("):
            pending.require_digests()


def test_a_file_that_is_not_there_cannot_be_read(folder: Path, expected: dict[str, str]) -> None:
    (folder / "model").unlink()
    with pytest.raises(BundleError, match="cannot be read"):
        PendingChecksums(folder, expected).require_digests()


def let_the_clock_move_on(folder: Path) -> None:
    """Return when a change gets another time than the newest file has: file systems count in steps of milliseconds."""
    newest = (folder / "weights").stat().st_ctime_ns
    while (folder / "clock").write_bytes(b"") or (folder / "clock").stat().st_ctime_ns <= newest:
        pass


def replace(file: Path) -> None:
    file.with_suffix(".new").write_bytes(file.read_bytes())
    file.with_suffix(".new").replace(file)


def replace_and_put_back(file: Path) -> None:
    file.rename(file.with_suffix(".kept"))
    file.write_bytes(b"another")
    file.with_suffix(".kept").replace(file)


def write_into(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.write(b"a")
    os.utime(file, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns + 1))


@pytest.mark.parametrize("change", [replace, replace_and_put_back, write_into, Path.unlink])
def test_a_file_that_is_not_the_one_that_is_hashed_is_named(
    folder: Path, expected: dict[str, str], change: Callable[[Path], None]
) -> None:
    let_the_clock_move_on(folder)
    pending = PendingChecksums(folder, expected)
    change(folder / "weights")
    with pytest.raises(BundleError, match=r"changed while it was being opened: weights\."):
        pending.require_same_files()


def test_digests_are_computed_without_the_thread(
    folder: Path, expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a forked child, to which threads do not come along."""
    monkeypatch.setattr(threading.Thread, "run", lambda self: None)
    PendingChecksums(folder, expected).require_digests()
    with pytest.raises(BundleError, match="changed after it was written: model"):
        PendingChecksums(folder, expected | {"model": "0" * 64}).require_digests()
