"""Writing a directory whole or not at all."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vgg_runtime.bundle import MANIFEST
from vgg_runtime.errors import MissingCapabilityError, UsageError

__all__ = ["check_destination", "staged_directory"]


def check_destination(destination: Path, *, overwrite: bool) -> None:
    """Refuse a ``destination`` that must not be replaced.

    Raises:
        UsageError: something is there and ``overwrite`` is not set, or what is there is not a bundle.
    """
    if not os.path.lexists(destination):
        return
    if not (destination / MANIFEST).is_file() or destination.is_symlink():
        raise UsageError(
            f"{destination} exists and is no bundle, so it is not replaced.", hint="Give another path to --output."
        )
    if not overwrite:
        raise UsageError(f"{destination} exists.", hint="Give --overwrite to replace it, or another path to --output.")


@contextmanager
def staged_directory(destination: Path, *, overwrite: bool) -> Iterator[Path]:
    """Give a temporary sibling of ``destination`` to fill, and put it in its place when the block ends well.

    A reader sees what was there before or the whole new directory. When the block raises, nothing is left.

    Raises:
        UsageError: as :func:`check_destination`.
        MissingCapabilityError: the file system refuses: no space, no permission.
    """
    check_destination(destination, overwrite=overwrite)
    staging: Path | None = None
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{destination.name}.", suffix=".partial", dir=destination.parent))
        yield staging
        _give_usual_permissions(staging)
        _flush_to_disk(staging)
        check_destination(destination, overwrite=overwrite)
        _put_in_place(staging, destination)
        _flush_to_disk(destination.parent, recursive=False)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EDQUOT):
            raise MissingCapabilityError(
                f"the bundle cannot be written to {destination}: {error.strerror}; nothing was changed."
            ) from error
        raise
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)


def _give_usual_permissions(directory: Path) -> None:
    """mkdtemp makes a directory private; a bundle has the permissions that any new directory gets."""
    mask = os.umask(0)
    os.umask(mask)
    directory.chmod(0o777 & ~mask)


def _flush_to_disk(directory: Path, *, recursive: bool = True) -> None:
    if sys.platform == "win32":
        return  # directories cannot be opened there
    paths = [directory, *directory.rglob("*")] if recursive else [directory]
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _put_in_place(staging: Path, destination: Path) -> None:
    """Rename ``staging`` to ``destination``; what was there ends up at ``staging``."""
    if not destination.exists():
        staging.rename(destination)
    elif not _exchange(staging, destination):
        # No system call swaps two directories here: for an instant there is none at the destination.
        aside = staging.with_suffix(".replaced")
        destination.rename(aside)
        staging.rename(destination)
        aside.rename(staging)


def _exchange(first: Path, second: Path) -> bool:
    """Swap two paths in one step, by Linux's renameat2(2) with RENAME_EXCHANGE; return whether that worked."""
    if not sys.platform.startswith("linux"):
        return False
    at_fdcwd, rename_exchange = -100, 2
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None)
    return (
        renameat2 is not None
        and renameat2(at_fdcwd, os.fsencode(first), at_fdcwd, os.fsencode(second), rename_exchange) == 0
    )
