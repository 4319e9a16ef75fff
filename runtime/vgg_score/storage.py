"""Where sources are: files of this machine, or URLs such as ``s3://bucket/photos``, which fsspec reads."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Protocol

from vgg_runtime.errors import MissingCapabilityError, UsageError
from vgg_runtime.imaging.folders import images_below, is_image_name

__all__ = ["Storage", "is_url", "storage_of"]


class Storage(Protocol):
    """What sources need of a file system; a location is a path, or a URL with its protocol.

    Raises:
        OSError: a location cannot be read; the drivers of fsspec raise others too.
    """

    def is_folder(self, location: str) -> bool:
        """Return whether ``location`` is a folder."""

    def exists(self, location: str) -> bool:
        """Return whether there is anything at ``location``."""

    def size(self, location: str) -> int:
        """Return the bytes of a file."""

    def open(self, location: str) -> IO[bytes]:
        """Open a file for reading, also from positions in it."""

    def images_below(self, folder: str) -> Iterator[str]:
        """Yield the image files below ``folder``, always in the same order, without hidden ones."""

    def matches(self, pattern: str) -> list[str]:
        """Return what a pattern of ``*``, ``?``, ``[...]`` and ``**`` matches, in sorted order."""


def is_url(location: str) -> bool:
    """Return whether ``location`` names its protocol."""
    return "://" in location


def storage_of(location: str) -> Storage:
    """Return the storage that holds ``location``.

    Raises:
        MissingCapabilityError: fsspec, or the package that it needs for the protocol, is not installed.
        UsageError: fsspec does not know the protocol.
    """
    return _RemoteStorage(location) if is_url(location) else _LocalStorage()


class _LocalStorage:
    def is_folder(self, location: str) -> bool:
        return os.path.isdir(location)

    def exists(self, location: str) -> bool:
        return os.path.exists(location)

    def size(self, location: str) -> int:
        return Path(location).stat().st_size

    def open(self, location: str) -> IO[bytes]:
        return Path(location).open("rb")

    def images_below(self, folder: str) -> Iterator[str]:
        return map(str, images_below(Path(folder)))

    def matches(self, pattern: str) -> list[str]:
        return sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern


class _RemoteStorage:
    def __init__(self, location: str) -> None:
        protocol = location.partition("://")[0]
        try:
            from fsspec.core import url_to_fs
        except ImportError as error:
            raise MissingCapabilityError(
                f"{protocol}:// is read by fsspec, which is not installed.", hint='pip install "vgg-deploy[score]"'
            ) from error
        try:
            self._files, path = url_to_fs(location)
        except ImportError as error:
            raise MissingCapabilityError(
                f"{protocol}:// needs a package that is not installed: {error}.", hint="Install that package with pip."
            ) from error
        except ValueError as error:
            raise UsageError(
                f"fsspec does not know the protocol {protocol}.",
                hint="Name a local path, or a URL of a protocol such as s3, gs, abfs or https.",
            ) from error
        self._prefix = location.partition(path)[0]  # protocol and, if the protocol has one, host

    def is_folder(self, location: str) -> bool:
        return bool(self._files.isdir(location))

    def exists(self, location: str) -> bool:
        return bool(self._files.exists(location))

    def size(self, location: str) -> int:
        return int(self._files.size(location))

    def open(self, location: str) -> IO[bytes]:
        file: IO[bytes] = self._files.open(location, "rb")
        return file

    def images_below(self, folder: str) -> Iterator[str]:
        for here, folders, files in self._files.walk(folder, on_error="raise"):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(filter(is_image_name, files)):
                yield f"{self._prefix}{here}/{name}"

    def matches(self, pattern: str) -> list[str]:
        return sorted(self._prefix + path for path in self._files.glob(pattern))
