"""Parquet files with a column of images: bytes, paths, or both in the form of Hugging Face's datasets."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any, NoReturn

from vgg_runtime.errors import ImageError, RefusedInputError, UsageError
from vgg_score._pyarrow import import_pyarrow
from vgg_score.sources.image_files import image_reader
from vgg_score.sources.span import Item, KeptOpen, SourceOptions
from vgg_score.storage import storage_of

__all__ = ["ParquetRows", "parquet_spans"]

# Rows that are decoded at once. One of images takes some 100 KB.
_BATCH_ROWS = 32

# Bytes that are read at once, instead of a whole column of a row group.
_BUFFER_BYTES = 2**20


@dataclass(frozen=True)
class ParquetRows:
    """Consecutive rows of a Parquet file.

    Attributes:
        size: bytes of the file; another size shows that the source has changed.
        start: number of the first row in the file, from 0.
        images: number of rows.
        column: name of the column of images.
        id_column: name of the column of ids; None makes one of file and row.
    """

    file: str
    size: int
    start: int
    images: int
    column: str
    id_column: str | None

    def read(self, kept: KeptOpen) -> Iterator[Item]:
        """Yield each row under its id, or as the name of the file, "#", and the number of the row."""
        columns = (self.column,) if self.id_column is None else (self.column, self.id_column)
        with _refusals(self.file):
            reader = kept.get((self.file, columns), lambda: _RowReader(self.file, columns))
            for number, (image, *ids) in enumerate(reader.rows(self.start, self.images), self.start):
                id_ = str(ids[0]) if ids and ids[0] is not None else f"{self.file}#{number}"
                yield id_, _image_of(image, id_)


def parquet_spans(location: str, options: SourceOptions) -> Iterator[ParquetRows]:
    """Yield the rows of a Parquet file in spans; only its footer is read.

    Raises:
        RefusedInputError: it is not a Parquet file, or has no column of images, or several.
        UsageError: it lacks a column that was named.
    """
    size = storage_of(location).size(location)
    with _opened(location) as file:
        names, rows = file.schema_arrow.names, file.metadata.num_rows
        for parameter, name in (("column", options.column), ("id_column", options.id_column)):
            if name is not None and name not in names:
                raise UsageError(
                    f"{location} has no column {name!r}. Its columns: {', '.join(names)}.",
                    hint=f"Name one of them by `{parameter}`.",
                )
        column = options.column or _only_image_column(location, file.schema_arrow)
    for start in range(0, rows, options.shard_size):
        images = min(options.shard_size, rows - start)
        yield ParquetRows(location, size, start, images, column, options.id_column)


def _only_image_column(location: str, schema: Any) -> str:
    """The one column of bytes; without any, the one column of text."""
    types = import_pyarrow().types
    binary = [field.name for field in schema if types.is_binary(field.type) or types.is_large_binary(field.type)]
    structs = [
        field.name for field in schema if types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0
    ]
    texts = [field.name for field in schema if types.is_string(field.type) or types.is_large_string(field.type)]
    candidates = binary + structs or texts
    if len(candidates) != 1:
        number = "several columns" if candidates else "no column"
        raise RefusedInputError(
            f"{location} has {number} that may hold the images: {', '.join(candidates or schema.names)}.",
            hint="Name it by `column`: bytes, paths, or a struct of both.",
        )
    return str(candidates[0])


def _image_of(value: Any, id_: str) -> Any:
    """The function that reads the image of one row."""
    if isinstance(value, dict):  # Hugging Face: {"bytes": ..., "path": ...}
        value = value.get("bytes") or value.get("path")
    match value:
        case bytes():
            return partial(bytes, value)
        case str():
            return image_reader(value)
        case _:
            return partial(_refuse, f"{id_} holds no image, but {value!r:.40}.")


def _refuse(message: str) -> NoReturn:
    raise ImageError(message)


class _RowReader:
    """Reads ranges of rows; if they ascend, as those of one worker do, each row group is decoded at most once."""

    def __init__(self, location: str, columns: tuple[str, ...]) -> None:
        self._columns = columns
        self._stream = storage_of(location).open(location)
        self._file = import_pyarrow().parquet.ParquetFile(self._stream, buffer_size=_BUFFER_BYTES, pre_buffer=False)
        metadata = self._file.metadata
        sizes = (metadata.row_group(group).num_rows for group in range(metadata.num_row_groups))
        self._group_starts = list(accumulate(sizes, initial=0))
        self._batch: Any = None  # a record batch, or an empty table before the first
        self._seek(0)

    def rows(self, start: int, count: int) -> Iterator[tuple[Any, ...]]:
        stop = start + count
        while start < stop:
            self._advance_to(start)
            part = self._batch.slice(start - self._first, stop - start)
            yield from zip(*(part.column(name).to_pylist() for name in self._columns), strict=True)
            start += part.num_rows

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def _advance_to(self, row: int) -> None:
        """Make ``_batch`` the one that has ``row``."""
        group = bisect_right(self._group_starts, row) - 1
        if row < self._first or self._group_starts[group] > self._first + self._batch.num_rows:
            self._seek(group)
        while row >= self._first + self._batch.num_rows:
            self._first += self._batch.num_rows
            self._batch = next(self._batches)

    def _seek(self, group: int) -> None:
        groups = range(group, len(self._group_starts) - 1)
        self._batches = self._file.iter_batches(
            _BATCH_ROWS, row_groups=groups, columns=self._columns, use_threads=False
        )
        self._first, self._batch = self._group_starts[group], self._file.schema_arrow.empty_table()


@contextmanager
def _opened(location: str) -> Iterator[Any]:
    with _refusals(location), storage_of(location).open(location) as stream:
        yield import_pyarrow().parquet.ParquetFile(stream)


@contextmanager
def _refusals(location: str) -> Iterator[None]:
    try:
        yield
    except (import_pyarrow().ArrowException, OSError) as error:
        raise RefusedInputError(f"{location} cannot be read as a Parquet file: {error}.") from error
