"""Writing a directory atomically."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

from vgg_export.progress import OnNote, ignore_notes
from vgg_export.writing.workspace import Workspace, discard_abandoned, workspace
from vgg_runtime.bundle.directory import MANIFEST, read_bundle
from vgg_runtime.errors import BundleError, MissingCapabilityError, UsageError

__all__ = ["check_destination", "staged_directory"]

# The destination is not writable, or the disk is full or broken.
_REFUSALS = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EACCES, errno.EPERM, errno.EROFS),
    *(errno.ENOTDIR, errno.ENOENT, errno.ENAMETOOLONG),
)


def check_destination(destination: Path, *, overwrite: bool) -> None:
    """Refuse a ``destination`` that must not be replaced.

    Raises:
        UsageError: it exists and ``overwrite`` is not set, or it is not a bundle, or holds other files too.
    """
    if not os.path.lexists(destination):
        return
    if destination.is_symlink():
        raise UsageError(
            f"{destination} is a link, so it is not replaced.", hint="Give the path that it leads to, or another one."
        )
    if not (destination / MANIFEST).is_file():
        raise UsageError(
            f"{destination} exists and is not a bundle, so it is not replaced.", hint="Give another path to `output`."
        )
    if not overwrite:
        raise UsageError(
            f"{destination} exists.", hint="Give `overwrite=True` to replace it, or another path to `output`."
        )
    _require_only_bundle_files(destination)


def _require_only_bundle_files(destination: Path) -> None:
    """A bundle that is replaced is deleted with all its contents, so its manifest must list all of them."""
    try:
        extra_files = read_bundle(destination).unexpected_files()
    except BundleError as error:
        raise UsageError(
            f"{destination} is not a bundle that this release can read, so it is not replaced: {error.message}",
            hint="Remove it yourself, or give another path to `output`.",
        ) from error
    if extra_files:
        raise UsageError(
            f"{destination} holds more than a bundle, so it is not replaced: {', '.join(extra_files)}.",
            hint="Move that elsewhere, or give another path to `output`.",
        )


@contextmanager
def staged_directory(destination: Path, *, overwrite: bool, on_note: OnNote = ignore_notes) -> Iterator[Path]:
    """Yield a temporary directory beside ``destination`` to fill, which replaces it if the block succeeds.

    Readers see the old directory or the complete new one. If the block raises, nothing is left behind; if the process
    is killed, the next one that writes to this destination removes what is left. ``on_note`` is called with a line of
    text if the file system refuses to remove the temporary directory.

    Raises:
        UsageError: as :func:`check_destination`.
        MissingCapabilityError: the file system refuses: no space, no permission.
    """
    with _refusals(destination), ExitStack() as undo:
        discard_abandoned(destination)
        check_destination(destination, overwrite=overwrite)
        for parent in [folder for folder in destination.parents if not folder.exists()][::-1]:
            parent.mkdir(exist_ok=True)
            undo.push(partial(_remove_after_error, parent))
        space = undo.enter_context(workspace(destination, on_note))
        yield space.new
        _flush_to_disk(space.new)
        check_destination(destination, overwrite=overwrite)
        _put_in_place(space)
        with _unconfirmed(destination):
            _flush_to_disk(destination.parent, recursive=False)


@contextmanager
def _refusals(destination: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.errno not in _REFUSALS:
            raise
        # numpy's error about a short write on a full disk has a text but no errno.
        raise MissingCapabilityError(
            f"the bundle cannot be written to {destination}: {error.strerror or error}; nothing was changed.",
            hint="Give a path to `output` that can be written to and has room.",
        ) from error


@contextmanager
def _unconfirmed(destination: Path) -> Iterator[None]:
    """Say of a failure in the block that the new directory is in place already."""
    try:
        yield
    except OSError as error:
        raise MissingCapabilityError(
            f"the bundle is written to {destination}, but the disk does not confirm it: {error.strerror or error}.",
            hint="Check the disk: the bundle may be missing after a power failure.",
        ) from error


def _remove_after_error(folder: Path, error: type[BaseException] | None, *_: object) -> None:
    if error is not None:
        with suppress(OSError):  # somebody else has written to it
            folder.rmdir()


def _flush_to_disk(directory: Path, *, recursive: bool = True) -> None:
    if sys.platform == "win32":
        return  # directories cannot be opened on this system
    paths = [directory, *directory.rglob("*")] if recursive else [directory]
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _put_in_place(space: Workspace) -> None:
    """Rename the new directory to the destination; an old one there ends up in the workspace."""
    if not space.destination.exists():
        _rename_to_new(space.new, space.destination)
    elif not _exchange(space.new, space.destination):
        # Without a system call that swaps two directories, the destination is missing for an instant.
        space.destination.rename(space.old)
        space.new.rename(space.destination)


def _rename_to_new(new: Path, destination: Path) -> None:
    try:
        new.rename(destination)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
        raise UsageError(
            f"{destination} was written by someone else in the meantime, so it is not replaced.",
            hint="Give `overwrite=True` to replace it, or another path to `output`.",
        ) from error


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
