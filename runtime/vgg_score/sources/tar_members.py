"""Tar archives of images, such as the shards of WebDataset."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import PurePosixPath

from vgg_runtime.errors import RefusedInputError
from vgg_runtime.imaging.folders import is_image_name
from vgg_score.sources.span import Item, KeptOpen, SourceOptions
from vgg_score.storage import storage_of

__all__ = ["TarMembers", "tar_spans"]


@dataclass(frozen=True)
class TarMembers:
    """Consecutive images of a tar archive; members that are no image files are passed over.

    Attributes:
        size: bytes of the archive; another size shows that the source has changed.
        offset: where the header of the first image begins, so that reading can start there.
    """

    file: str
    size: int
    offset: int
    images: int

    def read(self, kept: KeptOpen) -> Iterator[Item]:
        """Yield each image as the name of the archive, a slash, and its own."""
        with _opened(self.file, self.offset) as archive:
            for member in islice(_image_members(archive), self.images):
                data = archive.extractfile(member)
                assert data is not None  # it is a regular file
                yield f"{self.file}/{member.name}", partial(bytes, data.read())


def tar_spans(location: str, options: SourceOptions) -> Iterator[TarMembers]:
    """Yield the images of a tar archive in spans; only the headers of its members are read.

    Raises:
        RefusedInputError: it is not an uncompressed tar archive, or is damaged or truncated.
    """
    size = storage_of(location).size(location)
    with _opened(location) as archive:
        offsets = (member.offset for member in _image_members(archive))
        for first in offsets:
            others = sum(1 for _ in islice(offsets, options.shard_size - 1))
            yield TarMembers(location, size, first, 1 + others)
        _require_end(archive)


@contextmanager
def _opened(location: str, offset: int = 0) -> Iterator[tarfile.TarFile]:
    try:
        with storage_of(location).open(location) as file:
            file.seek(offset)
            with tarfile.open(fileobj=file, mode="r:", errors="replace") as archive:
                yield archive
    except (tarfile.TarError, OSError) as error:
        raise RefusedInputError(f"{location} cannot be read as an uncompressed tar archive: {error}.") from error


def _require_end(archive: tarfile.TarFile) -> None:
    """Refuse what follows the last member and is not zeros: tarfile takes a damaged or truncated header for the end."""
    assert archive.fileobj is not None
    archive.fileobj.seek(archive.offset)
    if any(archive.fileobj.read(tarfile.BLOCKSIZE)):
        raise tarfile.ReadError("damaged or truncated header")


def _image_members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    while (member := archive.next()) is not None:
        archive.members.clear()  # type: ignore[attr-defined]  # next() keeps them all
        if member.isreg() and is_image_name(PurePosixPath(member.name).name):
            yield member
