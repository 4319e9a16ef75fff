"""Image files: paths and URLs, from folders, globs and lists."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from vgg_runtime._internal.signal_errors import reraise_from_signal_handler
from vgg_runtime.errors import ImageError
from vgg_runtime.imaging.decode import ImageSource
from vgg_score.sources.span import Item, KeptOpen, SourceOptions
from vgg_score.storage import is_url, storage_of

__all__ = ["ImageFiles", "image_reader", "listed_images"]


@dataclass(frozen=True)
class ImageFiles:
    """Images that are files of their own."""

    locations: tuple[str, ...]

    @property
    def images(self) -> int:
        return len(self.locations)

    def read(self, kept: KeptOpen) -> Iterator[Item]:
        """Yield each file under its name; bytes of a name that are not UTF-8 become U+FFFD."""
        for location in self.locations:
            yield os.fsencode(location).decode("utf-8", "replace"), image_reader(location)


def image_reader(location: str) -> Callable[[], ImageSource]:
    """Return the function that reads the image at ``location``: bytes of a URL; a path is for the decoder to open."""
    return partial(_download, location) if is_url(location) else lambda: location


def listed_images(location: str, options: SourceOptions) -> Iterator[str]:
    """Yield the lines of a text file, each the path of an image or its URL."""
    with storage_of(location).open(location) as file:
        for line in file:
            if path := os.fsdecode(line.rstrip(b"\r\n")):
                yield path


def _download(url: str) -> bytes:
    try:
        with storage_of(url).open(url) as file:
            return file.read()
    except FileNotFoundError as error:
        raise ImageError(f"there is no file {url}.") from error
    except Exception as error:  # each driver of fsspec raises what it likes
        reraise_from_signal_handler(error)
        raise ImageError(f"{url} cannot be read: {error or type(error).__name__}.") from error
