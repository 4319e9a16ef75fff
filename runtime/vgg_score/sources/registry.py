"""The kinds of sources, and how a source is told from another: by what it names, and by its suffix."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby, islice
from pathlib import PurePosixPath
from typing import Any

from vgg_runtime._internal.json_codec import from_json, to_json
from vgg_runtime.errors import RefusedInputError
from vgg_runtime.imaging.folders import IMAGE_SUFFIXES
from vgg_score.sources.image_files import ImageFiles, listed_images
from vgg_score.sources.parquet_rows import ParquetRows, parquet_spans
from vgg_score.sources.span import SourceOptions, Span
from vgg_score.sources.tar_members import TarMembers, tar_spans
from vgg_score.storage import storage_of

__all__ = ["SOURCES", "SPANS", "span_from_json", "span_to_json", "spans_of"]

# What a file with this suffix holds: spans, or the locations of images. Any other file is an image.
SOURCES: dict[str, Callable[[str, SourceOptions], Iterator[Span | str]]] = {
    ".parquet": parquet_spans,
    ".tar": tar_spans,
    ".txt": listed_images,
}

SPANS: dict[str, type] = {"files": ImageFiles, "parquet": ParquetRows, "tar": TarMembers}


def spans_of(sources: Iterable[str], options: SourceOptions) -> Iterator[Span]:
    """Yield the images of ``sources`` in spans of at most ``options.shard_size``, always the same for the same sources.

    Raises:
        RefusedInputError: a source does not exist, is unreadable, or has no images.
        UsageError: a source lacks a column that ``options`` names, or has an unknown protocol.
        MissingCapabilityError: a package that reads a source is not installed.
    """
    parts = (part for source in sources for part in _parts_of(source, options))
    for is_location, group in groupby(parts, key=lambda part: isinstance(part, str)):
        if not is_location:
            yield from group  # type: ignore[misc]  # what is no location is a span
        while locations := tuple(islice(group, options.shard_size)):
            yield ImageFiles(locations)  # type: ignore[arg-type]


def span_to_json(span: Span) -> dict[str, Any]:
    """Return ``span`` as JSON holds it."""
    kind = next(name for name, type_ in SPANS.items() if type_ is type(span))
    return {"kind": kind, **to_json(span)}


def span_from_json(data: dict[str, Any]) -> Span:
    """Return the span that :func:`span_to_json` made ``data`` of."""
    fields = dict(data)
    span: Span = from_json(SPANS[fields.pop("kind")], fields)
    return span


def _parts_of(source: str, options: SourceOptions) -> Iterator[Span | str]:
    """The spans and locations of one source, or of all that a pattern matches."""
    storage = storage_of(source)
    if not glob.has_magic(source) or storage.exists(source):
        if not storage.exists(source):
            raise RefusedInputError(f"there is no file or folder {source}.")
        yield from _contents(source, options)
        return
    matches = storage.matches(source)
    if not matches:
        raise RefusedInputError(f"nothing matches {source}.")
    for match in matches:
        yield from _contents(match, options)


def _contents(location: str, options: SourceOptions) -> Iterator[Span | str]:
    storage = storage_of(location)
    if storage.is_folder(location):
        images = storage.images_below(location)
        first = next(images, None)
        if first is None:
            raise RefusedInputError(
                f"the folder {location} contains no images ({', '.join(IMAGE_SUFFIXES)}).",
                hint=f"Name files of another kind by a pattern, such as {location}/*.parquet or {location}/*.tar.",
            )
        yield first
        yield from images
    elif read := SOURCES.get(PurePosixPath(location).suffix.lower()):
        yield from read(location, options)
    else:
        yield location
