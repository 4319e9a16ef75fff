"""Scoring one shard: from a span of images to a file of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Self

from vgg_runtime import errors
from vgg_runtime.backends.base import Device
from vgg_runtime.bundle.manifest import InputArray
from vgg_runtime.classifier import Classifier
from vgg_runtime.errors import ImageError, VggDeployError
from vgg_runtime.imaging.decode import ImageSource
from vgg_runtime.imaging.prefetch import prefetch
from vgg_score.output import RunMetadata, ShardDirectory
from vgg_score.plan import Shard
from vgg_score.rows import Row, row
from vgg_score.sources.span import Item, KeptOpen

__all__ = ["Counts", "ScoringJob", "ShardScorer", "error_from_json", "error_to_json"]


@dataclass(frozen=True)
class Counts:
    """What was scored: rows, those with an error among them, and shards that were finished."""

    images: int = 0
    errors: int = 0
    shards: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.images + other.images, self.errors + other.errors, self.shards + other.shards)

    def __sub__(self, other: Counts) -> Counts:
        return Counts(self.images - other.images, self.errors - other.errors, self.shards - other.shards)


def error_to_json(error: VggDeployError) -> list[str]:
    """Return ``error`` as it travels from a worker to the process that drives it."""
    return [type(error).__name__, error.message, error.hint]


def error_from_json(data: list[str]) -> VggDeployError:
    """Return the error that :func:`error_to_json` made ``data`` of."""
    class_, message, hint = data
    error: VggDeployError = getattr(errors, class_)(message, hint=hint)
    return error


@dataclass(frozen=True)
class ScoringJob:
    """What a worker has to know, beside its shards.

    Attributes:
        bundle, output: paths.
        metadata: names the variant and the classes of each image, among others.
        threads: of this worker.
    """

    bundle: str
    output: str
    metadata: RunMetadata
    device: Device
    backend: str | None
    threads: int
    batch_size: int
    max_pixels: int
    key: str | None
    allow_any_operator: bool


class ShardScorer:
    """A classifier that scores shard after shard.

    Raises:
        BundleError, KeyFileError, MissingCapabilityError, SignatureError, UsageError: as
            :class:`~vgg_runtime.Classifier`.
    """

    def __init__(self, job: ScoringJob) -> None:
        self._kept = KeptOpen()
        self._shards = ShardDirectory(Path(job.output), job.metadata)
        self._classifier = Classifier(
            job.bundle,
            variant=job.metadata.variant,
            device=job.device,
            threads=job.threads,
            backend=job.backend,
            profile="shared",
            key=job.key,
            max_pixels=job.max_pixels,
            allow_any_operator=job.allow_any_operator,
        )
        manifest = self._classifier.manifest
        self._batch_size = manifest.input.batch_size or job.batch_size
        self._ranks = min(job.metadata.top_k, manifest.output.classes)

    def score(self, shard: Shard) -> Iterator[Counts]:
        """Write the file of ``shard``; yield the counts of each batch that has been run, then that of the shard."""
        rows: list[Row] = []
        for batch in self._batches(shard.span.read(self._kept)):
            rows += batch
            yield Counts(len(batch), sum(row["error"] is not None for row in batch))
        self._shards.write(shard.index, rows, self._ranks)
        yield Counts(shards=1)

    def _batches(self, items: Iterator[Item]) -> Iterator[list[Row]]:
        jobs = (partial(self._prepare, *item) for item in items)
        inputs = prefetch(jobs, workers=self._classifier.threads, ahead=2 * self._batch_size)
        while batch := list(islice(inputs, self._batch_size)):
            readable = [planes for _, planes in batch if not isinstance(planes, ImageError)]
            predictions = iter(self._classifier.classify(readable, top_k=self._ranks))
            yield [
                row(id_, planes if isinstance(planes, ImageError) else next(predictions), self._ranks)
                for id_, planes in batch
            ]

    def _prepare(self, id_: str, read: Callable[[], ImageSource]) -> tuple[str, InputArray | ImageError]:
        try:
            return id_, self._classifier.preprocess(read())
        except ImageError as error:
            return id_, error

    def close(self) -> None:
        """Release the model, and the source that was read last."""
        self._kept.close()
        self._classifier.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
