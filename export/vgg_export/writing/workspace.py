"""Folders for unfinished work, each locked by its process: those of killed processes can be told and removed."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from vgg_export.progress import OnNote

if sys.platform != "win32":
    import fcntl

__all__ = ["Workspace", "discard_abandoned", "workspace"]


@dataclass(frozen=True)
class Workspace:
    """A folder ``.NAME.*.partial`` beside ``destination``.

    Attributes:
        destination: the directory that is to be written or replaced.
    """

    folder: Path
    destination: Path

    @property
    def new(self) -> Path:
        """The directory to fill, which is then renamed to the destination."""
        return self.folder / "new"

    @property
    def old(self) -> Path:
        """Where the directory at the destination goes first, if two directories cannot be swapped in one step."""
        return self.folder / "old"

    @property
    def lock(self) -> Path:
        """The file that the process has locked; the system releases it however that process ends."""
        return self.folder / "lock"

    def discard(self, descriptor: int) -> None:
        """Remove the folder, whose lock ``descriptor`` holds; if its owner got no further, put the old directory back.

        Raises:
            OSError: it cannot be put back; then it is still in the folder.
        """
        try:
            if self.old.exists() and self.new.exists() and not os.path.lexists(self.destination):
                self.old.rename(self.destination)
        finally:
            os.close(descriptor)  # first, because Windows removes no file that is open
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def workspace(destination: Path, on_note: OnNote) -> Iterator[Workspace]:
    """Yield a workspace for ``destination`` with an empty directory ``new``, and remove it after the block.

    ``on_note`` is called with a line of text if it cannot be removed.
    """
    space, descriptor = _create(destination)
    try:
        space.new.mkdir()
        yield space
    finally:
        space.discard(descriptor)
        if space.folder.exists():
            on_note(f"note: {space.folder} cannot be removed; the next export to {destination} tries again")


def discard_abandoned(destination: Path) -> None:
    """Remove the workspaces for ``destination`` whose processes were killed.

    Where files cannot be locked, none is removed, because nothing shows that its process has ended.
    """
    pattern = re.compile(rf"\.{re.escape(destination.name)}\.[a-z0-9_]+\.partial")
    names = os.listdir(destination.parent) if destination.parent.is_dir() else []  # noqa: PTH208 - names alone
    for name in filter(pattern.fullmatch, names):
        space = Workspace(destination.with_name(name), destination)
        if space.folder.is_symlink():
            continue
        with suppress(OSError):  # another user's, or removed by another process in the meantime
            descriptor = _open(space.lock)
            if _acquire(descriptor, space.lock):
                space.discard(descriptor)
            else:
                os.close(descriptor)


def _create(destination: Path) -> tuple[Workspace, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f".{destination.name}.", suffix=".partial", dir=destination.parent))
        space = Workspace(folder, destination)
        try:
            descriptor = _open(space.lock)
        except FileNotFoundError:
            continue
        except OSError:
            folder.rmdir()
            raise
        if _acquire(descriptor, space.lock) is not False:
            return space, descriptor
        os.close(descriptor)  # another process found the folder before it was locked, and is removing it


def _open(lock: Path) -> int:
    return os.open(lock, os.O_RDWR | os.O_CREAT, mode=0o600)


def _acquire(descriptor: int, lock: Path) -> bool | None:
    """Lock the open file ``lock``; return whether it is ours now, None where files cannot be locked."""
    if sys.platform == "win32":
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    try:
        return os.path.samestat(os.fstat(descriptor), lock.stat())
    except FileNotFoundError:  # whoever had it locked has removed the folder
        return False
