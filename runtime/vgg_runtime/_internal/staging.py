"""A directory to fill before it takes its place."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vgg_runtime.errors import MissingCapabilityError

__all__ = ["staging_directory"]


@contextmanager
def staging_directory(what: str, destination: Path, *, within: Path) -> Iterator[Path]:
    """Yield an empty directory to fill and to rename; what is left of it, or beside it, is removed at the end.

    Args:
        what: to call in an error what is being written.
        destination: where it is to be in the end.
        within: directory on the file system of ``destination``; it is made if it is missing.

    Raises:
        MissingCapabilityError: in the place of an ``OSError`` of the block.
    """
    try:
        within.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{destination.name}.", suffix=".partial", dir=within) as folder:
            staging = Path(folder, "new")
            staging.mkdir()  # by the user's umask; the folder around it is private
            yield staging
    except OSError as error:
        raise MissingCapabilityError(
            f"{what} cannot be written to {destination}: {error.strerror or error}.",
            hint="Give a directory that can be written to and has room.",
        ) from error
