"""The directory of predictions: shards written whole or not at all, whose presence says what is done."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path

from vgg_runtime._internal.cache import replacing
from vgg_runtime._internal.json_codec import MismatchError, dump_json, from_json
from vgg_runtime.errors import MissingCapabilityError, UsageError
from vgg_score.formats import FORMATS
from vgg_score.rows import Row, columns

if sys.platform != "win32":
    import fcntl

__all__ = ["METADATA", "RunMetadata", "ShardDirectory", "opened_directory"]

# What begins with an underscore is not data to Spark, Arrow and others that read whole directories.
METADATA = "_metadata.json"

# How replacing() calls a file that is being written.
_UNFINISHED = re.compile(r"(part-\d{6,}|_metadata)\.[0-9a-f]{16}\.part")


@dataclass(frozen=True)
class RunMetadata:
    """What decides the contents of every shard; only a run with the same can be resumed.

    Attributes:
        bundle_sha256: digest of the bundle's manifest, which has the digests of its files.
        variant: name of the variant that ran.
        top_k: classes of each image that were asked for.
        format: a key of :data:`~vgg_score.formats.FORMATS`.
        shard_size: images of a shard, at most.
        images, shards: how many there are when the run is finished.
        source_sha256: digest of which images are in which shard.
    """

    bundle_sha256: str
    variant: str
    top_k: int
    format: str
    shard_size: int
    images: int
    shards: int
    source_sha256: str
    schema_version: int = 1


@dataclass(frozen=True)
class ShardDirectory:
    """Shards of one run; the files of others are left alone."""

    directory: Path
    metadata: RunMetadata

    def file(self, index: int) -> Path:
        """Return the path of a shard, whether it exists or not."""
        return self.directory / f"part-{index:06d}.{self.metadata.format}"

    def present(self) -> set[int]:
        """Return the numbers of the shards that are there."""
        name = re.compile(rf"part-(\d{{6,}})\.{self.metadata.format}")
        return {int(match[1]) for file in os.listdir(self.directory) if (match := name.fullmatch(file))}  # noqa: PTH208

    def count_errors(self, index: int) -> int:
        """Return the number of images in a shard that were refused."""
        return FORMATS[self.metadata.format].count_errors(self.file(index))

    def write(self, index: int, rows: Sequence[Row], ranks: int) -> None:
        """Write a shard, in one step; it is on the disk when this returns.

        Raises:
            MissingCapabilityError: the file system refuses: no space, no permission.
        """
        keys = {f"vgg_deploy.{field.name}": str(getattr(self.metadata, field.name)) for field in fields(RunMetadata)}
        with _refusals(self.directory), replacing(self.file(index)) as part:
            FORMATS[self.metadata.format].write(part, rows, columns(ranks), keys)
            with part.open("r+b") as written:
                os.fsync(written.fileno())


@contextmanager
def opened_directory(directory: Path, metadata: RunMetadata, *, resume: bool) -> Iterator[ShardDirectory]:
    """Yield ``directory``, made and locked for this run.

    Args:
        resume: go on with the run that wrote to it before; if none did, begin.

    Raises:
        UsageError: it has files already and ``resume`` is not set, or they are of another run, or one is under way.
        MissingCapabilityError: it cannot be written to.
    """
    with ExitStack() as lock:
        with _refusals(directory):
            directory.mkdir(parents=True, exist_ok=True)
            lock.enter_context(_locked(directory))
            for file in directory.iterdir():
                if _UNFINISHED.fullmatch(file.name):  # of a process that was killed
                    file.unlink()
            _check_contents(directory, metadata, resume=resume)
            with replacing(directory / METADATA) as part:
                part.write_text(dump_json(metadata, indent=2), encoding="utf-8")
        yield ShardDirectory(directory, metadata)


def _check_contents(directory: Path, metadata: RunMetadata, *, resume: bool) -> None:
    if not any(directory.iterdir()):
        return
    if not (directory / METADATA).is_file():
        raise UsageError(
            f"{directory} has files, but no {METADATA}: it is not a directory of predictions.",
            hint="Give another path to `output`.",
        )
    if not resume:
        raise UsageError(
            f"{directory} holds predictions.",
            hint="Give `resume=True` to go on with that run, or another path to `output`.",
        )
    earlier = _read_metadata(directory / METADATA)
    names = [field.name for field in fields(RunMetadata)]
    if different := [name for name in names if getattr(earlier, name) != getattr(metadata, name)]:
        raise UsageError(
            f"{directory} holds predictions of another run: "
            + "; ".join(_difference(name, getattr(earlier, name), getattr(metadata, name)) for name in different)
            + ".",
            hint="Give the arguments of the earlier run, or another path to `output`.",
        )


def _difference(name: str, earlier: object, now: object) -> str:
    return f"{_DESCRIPTIONS.get(name, f'`{name}`')} was {earlier!s:.12}, is {now!s:.12}"


_DESCRIPTIONS = {
    "bundle_sha256": "the SHA-256 of the bundle's manifest",
    "images": "the number of images",
    "shards": "the number of shards",
    "source_sha256": "the SHA-256 of the list of images",
    "schema_version": "the version of the metadata",
}


def _read_metadata(file: Path) -> RunMetadata:
    try:
        return from_json(RunMetadata, json.loads(file.read_bytes()))
    except (ValueError, MismatchError) as error:
        raise UsageError(
            f"{file} is not in the form that this release writes: {error}.", hint="Give another path to `output`."
        ) from error


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Hold the lock of ``directory``, which the system releases however this process ends."""
    if sys.platform == "win32":
        yield
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems have no locks
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UsageError(f"another process is writing predictions to {directory}.") from error
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _refusals(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise MissingCapabilityError(
            f"predictions cannot be written to {directory}: {error.strerror or error}.",
            hint="Shards that are complete stay; `resume=True` goes on with them.",
        ) from error
