"""A span: consecutive images of one source, which become one shard of the output."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from vgg_runtime.imaging.decode import ImageSource

__all__ = ["Item", "KeptOpen", "SourceOptions", "Span"]

ClosableType = TypeVar("ClosableType", bound="Closable")

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


class Closable(Protocol):
    """What has to be closed."""

    def close(self) -> None:
        """Close it."""


class KeptOpen:
    """What was opened last, since the next span is most often of the same file."""

    def __init__(self) -> None:
        self._key: object = None
        self._value: Any = None

    def get(self, key: object, open_: Callable[[], ClosableType]) -> ClosableType:
        """Return what ``open_`` returned for the same ``key``, or else call it now."""
        if key != self._key:
            self.close()
            self._value, self._key = open_(), key
        value: ClosableType = self._value
        return value

    def close(self) -> None:
        """Close what is open."""
        if self._key is not None:
            self._key = None
            self._value.close()


class Span(Protocol):
    """A frozen dataclass that JSON can hold, so that it reaches a worker's process.

    Attributes:
        images: how many.
    """

    @property
    def images(self) -> int:
        """How many images it has."""

    def read(self, kept: KeptOpen) -> Iterator[Item]:
        """Yield its images in order.

        Args:
            kept: the same for all spans that one worker reads.

        Raises:
            RefusedInputError: the file that holds them is unreadable.
        """
