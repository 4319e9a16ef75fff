"""The plan of a run: its shards in order, listed once before the first image is read.

It is kept in a temporary file, so that memory does not grow with the number of images.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from vgg_runtime.errors import RefusedInputError
from vgg_score.sources.registry import span_from_json, span_to_json
from vgg_score.sources.span import Span

__all__ = ["ScoringPlan", "Shard", "planned"]


@dataclass(frozen=True)
class Shard:
    """One shard of the output: its number, and the images in it."""

    index: int
    span: Span

    def dump(self) -> str:
        """Return it as one line of JSON."""
        return json.dumps({"index": self.index, "span": span_to_json(self.span)})

    @classmethod
    def parse(cls, line: str) -> Shard:
        """Return the shard that :meth:`dump` wrote."""
        data = json.loads(line)
        return cls(data["index"], span_from_json(data["span"]))


@dataclass(frozen=True)
class ScoringPlan:
    """All shards of a run.

    Attributes:
        images, shards: how many.
        sha256: digest of which images are in which shard: names, sizes of archives, not the images themselves.
    """

    images: int
    shards: int
    sha256: str
    _lines: IO[str]

    def __iter__(self) -> Iterator[Shard]:
        self._lines.seek(0)
        return map(Shard.parse, self._lines)


@contextmanager
def planned(spans: Iterable[Span]) -> Iterator[ScoringPlan]:
    """Yield the plan that makes a shard of each span.

    Raises:
        RefusedInputError: there are no images.
    """
    images, shards, digest = 0, 0, hashlib.sha256()
    with tempfile.TemporaryFile("w+", encoding="ascii") as file:
        for span in spans:
            line = Shard(shards, span).dump() + "\n"
            file.write(line)
            digest.update(line.encode("ascii"))
            images, shards = images + span.images, shards + 1
        if not images:
            raise RefusedInputError("the source contains no images.")
        yield ScoringPlan(images, shards, digest.hexdigest(), file)
