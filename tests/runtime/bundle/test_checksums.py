from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from vgg_runtime.bundle import checksums, verified_files
from vgg_runtime.bundle.checksums import PendingChecksums, sha256_of
from vgg_runtime.errors import BundleError

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were hashed, in their order."""
    names: list[str] = []

    def recorded(path: Path) -> str:
        names.append(path.name)
        return sha256_of(path)

    monkeypatch.setattr(checksums, "sha256_of", recorded)
    return names


@pytest.fixture
def old_enough(
    cache: Path, let_the_clock_move_on: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> Callable[[], None]:
    """Files may be remembered as soon as the file system's clock has moved on; the cache is empty."""
    monkeypatch.setattr(verified_files, "CLOCK_STEP_NS", 0)
    let_the_clock_move_on()
    return let_the_clock_move_on


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
    folder: Path,
    expected: dict[str, str],
    let_the_clock_move_on: Callable[[], None],
    change: Callable[[Path], None],
) -> None:
    let_the_clock_move_on()
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


def check(folder: Path, expected: dict[str, str], *, remember: bool = True) -> None:
    PendingChecksums(folder, expected, remember=remember).require_digests()


@pytest.mark.usefixtures("old_enough")
def test_files_that_were_verified_are_not_hashed_again(
    folder: Path, expected: dict[str, str], hashed: list[str]
) -> None:
    check(folder, expected)
    assert hashed == ["model", "weights"]
    check(folder, expected)
    assert hashed == ["model", "weights"]


def test_a_verified_file_that_changes_is_hashed_and_refused(
    folder: Path, expected: dict[str, str], hashed: list[str], old_enough: Callable[[], None]
) -> None:
    check(folder, expected)
    old_enough()
    (folder / "model").write_bytes(b"abd")
    old_enough()
    for _ in range(2):  # what is refused is not remembered
        hashed.clear()
        with pytest.raises(BundleError, match="changed after it was written: model"):
            check(folder, expected)
        assert hashed == ["model", "weights"]


@pytest.mark.usefixtures("old_enough")
def test_files_are_hashed_every_time_where_that_is_asked(
    folder: Path, expected: dict[str, str], hashed: list[str], cache: Path
) -> None:
    for _ in range(2):
        check(folder, expected, remember=False)
    assert hashed == ["model", "weights"] * 2
    assert not cache.exists()
    check(folder, expected)
    check(folder, expected, remember=False)
    assert hashed == ["model", "weights"] * 4


def test_a_file_that_is_touched_meanwhile_is_not_remembered(
    folder: Path, expected: dict[str, str], cache: Path, old_enough: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def touching(path: Path) -> str:
        digest = sha256_of(path)
        replace(path)
        return digest

    monkeypatch.setattr(checksums, "sha256_of", touching)
    check(folder, expected)
    assert not cache.exists()


def test_new_files_are_hashed_again(folder: Path, expected: dict[str, str], hashed: list[str], cache: Path) -> None:
    os.utime(folder / "model", ns=(0, 0))  # as a copy that keeps times
    for _ in range(2):
        check(folder, expected)
    assert hashed == ["model", "weights"] * 2
    assert not cache.exists()
