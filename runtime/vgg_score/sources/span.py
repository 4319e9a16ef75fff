"""A span: consecutive images of one source, which become one shard of the output."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from vgg_runtime.imaging.decode import ImageSource

__all__ = ["Item", "SourceOptions", "Span"]

# An image's id in the output, and the function that reads it, in a thread of its own. It raises ImageError.
Item = tuple[str, Callable[[], ImageSource]]


@dataclass(frozen=True)
class SourceOptions:
    """How sources are read.

    Attributes:
        shard_size: images of a span, at most.
        column: column of Parquet files that holds the images, None to find it by its type.
        id_column: column of Parquet files that holds their ids, None for file and row.
    """

    shard_size: int
    column: str | None = None
    id_column: str | None = None


class Span(Protocol):
    """A frozen dataclass that JSON can hold, so that it reaches a worker's process.

    Attributes:
        images: how many.
    """

    @property
    def images(self) -> int:
        """How many images it has."""

    def read(self) -> Iterator[Item]:
        """Yield its images in order.

        Raises:
            RefusedInputError: the file that holds them is unreadable.
        """
