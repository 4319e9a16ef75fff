from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vgg_export.progress import ignore_notes
from vgg_export.writing.workspace import Workspace, discard_abandoned, workspace

fcntl = pytest.importorskip("fcntl", reason="files are not locked on Windows")


@pytest.fixture
def destination(tmp_path: Path) -> Path:
    return tmp_path / "a.bundle"


def abandoned(destination: Path) -> Workspace:
    """A workspace that no process has locked."""
    space = Workspace(destination.with_name(f".{destination.name}.abcd_123.partial"), destination)
    space.new.mkdir(parents=True)
    return space


def partial_folders(destination: Path) -> list[Path]:
    return list(destination.parent.glob(".*.partial"))


def test_workspace_is_removed_without_a_note(destination: Path) -> None:
    notes: list[str] = []
    with workspace(destination, notes.append) as space:
        assert list(space.new.iterdir()) == []
        assert partial_folders(destination) == [space.folder]
    assert (partial_folders(destination), notes) == ([], [])


def test_workspace_that_cannot_be_removed_is_noted(destination: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy")

    notes: list[str] = []
    with workspace(destination, notes.append) as space:
        monkeypatch.setattr(os, "rmdir", refuse)
    assert notes == [f"note: {space.folder} cannot be removed; the next export to {destination} tries again"]


def test_folder_lost_before_its_lock_is_made_again(destination: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make, lost = tempfile.mkdtemp, list[str]()

    def make_one_in_vain(**arguments: Any) -> str:
        folder = make(**arguments)
        if not lost:
            lost.append(folder)
            os.rmdir(folder)  # noqa: PTH106 - a text
        return folder

    monkeypatch.setattr(tempfile, "mkdtemp", make_one_in_vain)
    with workspace(destination, ignore_notes) as space:
        assert space.new.is_dir()
    assert lost


def test_folder_whose_lock_cannot_be_made_is_removed(destination: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(OSError, match="No space left"), workspace(destination, ignore_notes):
        pass
    assert partial_folders(destination) == []


def test_folder_and_lock_are_closed_to_other_users(destination: Path) -> None:
    """Whoever could open the lock could hold it, and keep what a killed process left."""
    with workspace(destination, ignore_notes) as space:
        assert stat.S_IMODE(space.folder.stat().st_mode) == 0o700
        assert stat.S_IMODE(space.lock.stat().st_mode) == 0o600


def test_workspace_in_use_is_not_removed(destination: Path) -> None:
    with workspace(destination, ignore_notes) as space:
        discard_abandoned(destination)
        assert space.new.is_dir()


def test_link_is_left_and_what_follows_it_removed(destination: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = destination.with_name(f".{destination.name}.aaaa.partial")
    link.symlink_to(destination.parent)
    abandoned(destination)
    names = os.listdir
    monkeypatch.setattr(os, "listdir", lambda folder: sorted(names(folder)))
    discard_abandoned(destination)
    assert partial_folders(destination) == [link]


def test_old_directory_comes_back_if_the_new_is_not_there(destination: Path) -> None:
    space = abandoned(destination)
    (space.old / "deep").mkdir(parents=True)
    discard_abandoned(destination)
    assert (destination / "deep").is_dir()
    assert partial_folders(destination) == []


def test_old_directory_stays_away_once_it_was_replaced(destination: Path) -> None:
    space = abandoned(destination)
    space.old.mkdir()
    space.new.rmdir()  # it was put in place, and is gone since
    discard_abandoned(destination)
    assert list(destination.parent.iterdir()) == []


def test_old_directory_does_not_replace_one_that_is_there(destination: Path) -> None:
    space = abandoned(destination)
    space.old.mkdir()
    (destination / "another").mkdir(parents=True)
    discard_abandoned(destination)
    assert (destination / "another").is_dir()
    assert partial_folders(destination) == []


def test_destination_without_a_parent_has_no_abandoned(tmp_path: Path) -> None:
    discard_abandoned(tmp_path / "none" / "a.bundle")
    assert list(tmp_path.iterdir()) == []


def before_the_first_lock(event: Callable[[int], None], monkeypatch: pytest.MonkeyPatch) -> None:
    flock, events = fcntl.flock, [event]

    def flock_after(descriptor: int, operation: int) -> None:
        if events:
            events.pop()(descriptor)
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock_after)


def remove_its_folder(descriptor: int) -> None:
    shutil.rmtree(Path(f"/proc/self/fd/{descriptor}").resolve().parent)


def replace_it(descriptor: int) -> None:
    lock = Path(f"/proc/self/fd/{descriptor}").resolve()
    lock.unlink()
    lock.touch()


def find_it_locked(descriptor: int) -> None:
    raise BlockingIOError(errno.EWOULDBLOCK, "Resource temporarily unavailable")


def find_no_locks(descriptor: int) -> None:
    raise OSError(errno.ENOLCK, "No locks available")


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells which file is locked")
@pytest.mark.parametrize("by_another_process", [remove_its_folder, replace_it, find_it_locked])
def test_folder_lost_before_it_is_locked_is_made_again(
    destination: Path, monkeypatch: pytest.MonkeyPatch, by_another_process: Callable[[int], None]
) -> None:
    before_the_first_lock(by_another_process, monkeypatch)
    descriptors = len([*Path("/proc/self/fd").iterdir()])
    with workspace(destination, ignore_notes) as space:
        discard_abandoned(destination)
        assert space.new.is_dir()
    assert len([*Path("/proc/self/fd").iterdir()]) == descriptors


def test_file_system_without_locks_can_be_written_to(destination: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before_the_first_lock(find_no_locks, monkeypatch)
    with workspace(destination, ignore_notes) as space:
        assert space.new.is_dir()
    assert partial_folders(destination) == []


def test_nothing_is_removed_where_files_cannot_be_locked(destination: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space = abandoned(destination)

    before_the_first_lock(find_no_locks, monkeypatch)
    discard_abandoned(destination)
    assert space.new.is_dir()
