"""``score``: the predictions for many images, written in shards."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Container, Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from vgg_runtime._internal.cpu import available_threads
from vgg_runtime._internal.validation import check_positive_int
from vgg_runtime.backends.base import Device
from vgg_runtime.bundle.checksums import sha256_of
from vgg_runtime.bundle.directory import MANIFEST, open_bundle
from vgg_runtime.classifier import DEFAULT_BATCH_SIZE
from vgg_runtime.errors import UsageError
from vgg_runtime.imaging.decode import MAX_PIXELS
from vgg_runtime.loading import choose_variant
from vgg_score._pyarrow import import_pyarrow
from vgg_score.on_ray import score_on_ray
from vgg_score.output import RunMetadata, ShardDirectory, opened_directory
from vgg_score.plan import ScoringPlan, planned
from vgg_score.shard_scoring import Counts, ScoringJob
from vgg_score.sources.registry import spans_of
from vgg_score.sources.span import SourceOptions
from vgg_score.worker_pool import score_in_processes

__all__ = ["DEFAULT_SHARD_SIZE", "OutputFormat", "ScoringProgress", "ScoringSummary", "score"]

OutputFormat = Literal["parquet", "jsonl", "csv"]

# A worker that is killed loses less than a shard; a million images are 2,000 files.
DEFAULT_SHARD_SIZE = 500


@dataclass(frozen=True)
class ScoringProgress:
    """How far a run is.

    Attributes:
        images: scored so far, those of earlier runs included.
        total: images of the whole source.
        rate: images a second in this run; 0 before the first batch.
        seconds_left: at this rate; None before the first batch.

    Examples:
        >>> from vgg_score import ScoringProgress
        >>> progress = ScoringProgress(images=5_000, total=20_000, rate=250.0)
        >>> progress.seconds_left
        60.0
    """

    images: int
    total: int
    rate: float

    @property
    def seconds_left(self) -> float | None:
        return (self.total - self.images) / self.rate if self.rate else None


@dataclass(frozen=True)
class ScoringSummary:
    """What a finished run has written, with what it was resumed from.

    Attributes:
        output: directory of the shards.
        variant: name of the variant that ran.
        variant_reason: why this one was chosen.
        images, errors, shards: rows, those with an error among them, and files.
        scored: images that this run scored itself.
        seconds: that it took, from the first worker's start.

    Examples:
        >>> from vgg_score import score
        >>> summary = score("slim_vgg.bundle", "photos", "counts", format="csv")
        >>> summary.images, summary.errors, summary.shards
        (20, 0, 1)
    """

    output: Path
    variant: str
    variant_reason: str
    images: int
    errors: int
    shards: int
    scored: int
    seconds: float

    @property
    def rate(self) -> float:
        """Images a second in this run."""
        return self.scored / self.seconds if self.scored else 0.0


def score(
    bundle: str | os.PathLike[str],
    source: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    format: OutputFormat = "parquet",  # noqa: A002 - what it is called on the command line
    top_k: int = 5,
    batch_size: int = DEFAULT_BATCH_SIZE,
    workers: int = 1,
    threads: int | None = None,
    resume: bool = False,
    ray: str | None = None,
    variant: str | None = None,
    device: Device = "auto",
    backend: str | None = None,
    key: str | os.PathLike[str] | None = None,
    max_pixels: int = MAX_PIXELS,
    allow_any_operator: bool = False,
    column: str | None = None,
    id_column: str | None = None,
    shard_size: int = DEFAULT_SHARD_SIZE,
    on_progress: Callable[[ScoringProgress], object] | None = None,
) -> ScoringSummary:
    """Write the ``top_k`` most probable classes of every image of ``source`` to ``output``, one row an image.

    An image that is refused is a row with its error. A shard is written whole or not at all, and a run that ended
    early is resumed with the shards that it lacks, so that each image is in the output once. Memory does not grow with
    the number of images; of one folder, the names are in memory, because they are sorted.

    Args:
        bundle: directory that vgg-export wrote.
        source: one or several of these: a folder, searched for image files; a ``.parquet`` file with a column of bytes
            or paths; a ``.tar`` archive, such as a shard of WebDataset; a ``.txt`` file with a path on each line; an
            image; a pattern of any of them, such as ``"shards/*.tar"``; or their URLs, which fsspec reads.
        output: directory, which is made if it does not exist.
        format: of the shards: "parquet", "jsonl" or "csv".
        top_k: classes of each image; all of them if there are fewer.
        batch_size: images that run at once in a worker, at most.
        workers: processes, which share the memory of float weights.
        threads: CPU threads that the workers divide among them; by default as many as this process may use, and on Ray
            one for each worker.
        resume: go on with the run that wrote to ``output``; if none did, begin.
        ray: address of a Ray cluster whose nodes share a file system with this one: "auto", "ray://HOST:PORT", or
            "local" for one of this machine alone. Workers are then actors, and sources are absolute paths or URLs.
        variant, device, backend, key, max_pixels, allow_any_operator: as :class:`~vgg_runtime.Classifier` takes them;
            ``backend`` is not "auto".
        column: column of Parquet files that holds the images; by default the only one of bytes, else of text.
        id_column: column of Parquet files that holds the ids; by default an id is made of file and row.
        shard_size: images of a shard, at most.
        on_progress: called after each batch.

    Raises:
        UsageError: an argument is out of range, or ``output`` has other files, or those of a run that differs in
            bundle, variant, source, ``top_k``, ``format`` or ``shard_size``.
        RefusedInputError: the bundle, the key or a source is missing, damaged or empty.
        SignatureError: the bundle is not signed, or not by the key, or its manifest has changed since.
        MissingCapabilityError: pyarrow, fsspec, Ray, the engine or the device is missing; the disk is full; or workers
            were killed again and again.

    Examples:
        >>> from vgg_score import score
        >>> summary = score("slim_vgg.bundle", "photos", "predictions", format="jsonl", top_k=1)
        >>> sorted(file.name for file in summary.output.iterdir())
        ['_metadata.json', 'part-000000.jsonl']
        >>> row = (summary.output / "part-000000.jsonl").read_text().splitlines()[0]
        >>> row[:47]
        '{"id": "photos/ankle-boot/00000.png", "label_1"'
    """
    top_k, batch_size = check_positive_int("top_k", top_k), check_positive_int("batch_size", batch_size)
    options = SourceOptions(check_positive_int("shard_size", shard_size), column, id_column)
    shares = _divide(threads if ray is None else threads or workers, workers)
    if ray is not None:
        bundle, output = os.path.abspath(bundle), os.path.abspath(output)  # noqa: PTH100 - without following links
        key = None if key is None else os.path.abspath(key)  # noqa: PTH100
    if format not in get_args(OutputFormat):
        raise UsageError(f"`format` must be one of {', '.join(get_args(OutputFormat))}, got {format!r}.")
    if backend == "auto":
        raise UsageError("`backend='auto'` is not available here: workers would disturb each other's trials.")
    if format == "parquet":
        import_pyarrow()  # now rather than after the source was listed
    opened = open_bundle(bundle, key=key)
    entry, reason = choose_variant(opened, variant)
    sources = [source] if isinstance(source, str | os.PathLike) else source
    with planned(spans_of((os.fspath(each) for each in sources), options)) as plan:
        metadata = RunMetadata(
            bundle_sha256=sha256_of(opened.path(MANIFEST)),
            variant=entry.name,
            top_k=top_k,
            format=format,
            shard_size=shard_size,
            images=plan.images,
            shards=plan.shards,
            source_sha256=plan.sha256,
        )
        jobs = [
            ScoringJob(
                os.fspath(bundle),
                os.fspath(output),
                metadata,
                device,
                backend,
                share,
                batch_size,
                max_pixels,
                key=None if key is None else os.fspath(key),
                allow_any_operator=allow_any_operator,
            )
            for share in shares
        ]
        with opened_directory(Path(output), metadata, resume=resume) as directory:
            present = directory.present()
            total = earlier = _counts_of(plan, present, directory)
            begun = time.monotonic()
            shards = (shard for shard in plan if shard.index not in present)
            if ray is None:
                results = score_in_processes(shards, jobs)
            else:
                results = score_on_ray(shards, jobs[-1], address=ray, workers=workers)
            with closing(results):  # ends the workers, whoever keeps an error of on_progress and its frames
                for counts in results:
                    total += counts
                    if on_progress is not None and counts.images:
                        rate = (total.images - earlier.images) / (time.monotonic() - begun)
                        on_progress(ScoringProgress(total.images, plan.images, rate))
            seconds = time.monotonic() - begun
    return ScoringSummary(
        output=Path(output),
        variant=entry.name,
        variant_reason=reason,
        images=total.images,
        errors=total.errors,
        shards=total.shards,
        scored=total.images - earlier.images,
        seconds=seconds,
    )


def _divide(threads: int | None, workers: int) -> list[int]:
    """The threads of each worker: at least one, together no more than ``threads``."""
    available = available_threads() if threads is None else check_positive_int("threads", threads)
    workers = check_positive_int("workers", workers)
    if workers > available:
        raise UsageError(
            f"{workers} `workers` need as many threads, and there are {available}.",
            hint="Use fewer `workers`, or give more `threads`.",
        )
    each, more = divmod(available, workers)
    return [each + (number < more) for number in range(workers)]


def _counts_of(plan: ScoringPlan, present: Container[int], directory: ShardDirectory) -> Counts:
    """What is in the shards that are ``present``."""
    shards = (shard for shard in plan if shard.index in present)
    return sum((Counts(shard.span.images, directory.count_errors(shard.index), 1) for shard in shards), Counts())
