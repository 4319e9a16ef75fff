"""Scoring on a Ray cluster, by Ray Data: the shards of a plan, and datasets of the caller's own."""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from vgg_runtime._internal.json_codec import to_json
from vgg_runtime.backends.base import Device, parse_device
from vgg_runtime.classifier import DEFAULT_BATCH_SIZE, Classifier
from vgg_runtime.errors import MissingCapabilityError, UsageError, VggDeployError
from vgg_score.plan import Shard
from vgg_score.rows import row
from vgg_score.shard_scoring import Counts, ScoringJob, ShardScorer, error_from_json, error_to_json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["LOCAL", "predict_dataset", "score_on_ray"]

# The address that starts a cluster of this machine alone, for one run.
LOCAL = "local"


def score_on_ray(
    shards: Iterable[Shard], job: ScoringJob, *, address: str, workers: int
) -> Generator[Counts, None, None]:
    """Score ``shards`` in actors of a cluster; yield what was scored, to be added up.

    A shard whose actor was lost may be written twice, with the same rows. The list of shards is in this process's
    memory: some 100 bytes for each image file, next to nothing for Parquet files and archives.

    Args:
        job: its paths are on a file system that all nodes share.
        address: of the cluster, or "local".

    Raises:
        VggDeployError: what an actor raised.
        MissingCapabilityError: Ray is missing, or there is no cluster at ``address``.
    """
    ray = _import_ray()
    lines = [{"shard": shard.dump()} for shard in shards]
    if not lines:
        return
    workers = min(workers, len(lines))
    with _connected(ray, address, cpus=workers * job.threads):
        scored = ray.data.from_items(lines, override_num_blocks=len(lines)).map_batches(
            _ShardActor,
            fn_constructor_args=(job,),
            batch_size=1,
            **_actors(ray, workers, threads=job.threads, device=job.device),
        )
        for result in scored.iter_rows():
            if result["error"]:
                raise error_from_json(json.loads(result["error"]))
            yield Counts(**json.loads(result["counts"]))


def predict_dataset(
    dataset: Any,
    bundle: str | os.PathLike[str],
    *,
    column: str = "bytes",
    variant: str | None = None,
    top_k: int = 5,
    batch_size: int = DEFAULT_BATCH_SIZE,
    workers: int = 1,
    threads: int = 1,
    device: Device = "cpu",
) -> Any:
    """Return a ``ray.data.Dataset`` with the predictions in the place of the images of another.

    Like any, it is computed where it is consumed. Its columns are the others of ``dataset``, and those that
    :func:`vgg_score.score` writes: ``label_1``, ``index_1``, ``probability_1`` and so on, and ``error``.

    Args:
        dataset: with a column of the bytes of image files, as ``ray.data.read_images`` does not give it and
            ``ray.data.read_binary_files`` does.
        bundle: directory, at the same path on every node.
        column: name of the column of bytes.
        variant: as :class:`~vgg_runtime.Classifier` takes it.
        top_k: classes of each image.
        batch_size: images that run at once in an actor.
        workers: actors.
        threads: CPU threads of each, for which Ray reserves as many CPUs.
        device: "cuda" reserves a GPU for each actor.
    """
    return dataset.map_batches(
        _DatasetActor,
        fn_constructor_args=(os.fspath(bundle), column, variant, top_k, threads, device),
        batch_size=batch_size,
        batch_format="numpy",
        **_actors(_import_ray(), workers, threads=threads, device=device),
    )


class _ShardActor:
    """Scores the shard that a batch names; an error is part of the answer, as Ray would send its text alone."""

    def __init__(self, job: ScoringJob) -> None:
        self._job = job
        self._scorer: ShardScorer | None = None

    def __call__(self, batch: dict[str, NDArray[np.object_]]) -> dict[str, list[Any]]:
        try:
            return {"counts": [json.dumps(to_json(self._score(batch["shard"][0])))], "error": [""]}
        except VggDeployError as error:
            return {"counts": [""], "error": [json.dumps(error_to_json(error))]}

    def _score(self, shard: str) -> Counts:
        self._scorer = self._scorer or ShardScorer(self._job)
        return sum(self._scorer.score(Shard.parse(shard)), Counts())


class _DatasetActor:
    """Replaces a column of images by their predictions."""

    def __init__(  # noqa: PLR0917 - Ray passes them
        self, bundle: str, column: str, variant: str | None, top_k: int, threads: int, device: Device
    ) -> None:
        self._classifier = Classifier(bundle, variant=variant, threads=threads, device=device, profile="shared")
        self._column, self._ranks = column, min(top_k, self._classifier.manifest.output.classes)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        images = [bytes(image) for image in batch.pop(self._column)]
        results = self._classifier.predict_iter(
            images, top_k=self._ranks, batch_size=max(1, len(images)), on_error="return"
        )
        rows = [row("", result, self._ranks) for result in results]
        return batch | {name: [each[name] for each in rows] for name in rows[0] if name != "id"}


def _actors(ray: Any, workers: int, *, threads: int, device: Device) -> dict[str, Any]:
    """The arguments of ``map_batches`` that place its actors, which Ray Data starts again as often as they are lost."""
    return {
        "compute": ray.data.ActorPoolStrategy(size=workers),
        "num_cpus": threads,
        "num_gpus": _gpus_of_an_actor(device),
    }


def _gpus_of_an_actor(device: Device) -> int:
    kind, index = parse_device(device)
    if index:
        raise UsageError(f"Ray chooses the GPU of each worker, got `device={device!r}`.", hint="Use `device='cuda'`.")
    return 1 if kind == "cuda" else 0


def _import_ray() -> Any:
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingCapabilityError(
            f"Ray cannot be imported: {error}.", hint='pip install "vgg-deploy[ray]" on every node.'
        ) from error
    return ray


@contextmanager
def _connected(ray: Any, address: str, *, cpus: int) -> Iterator[None]:
    """Connect to the cluster, unless the caller has."""
    connects = not ray.is_initialized()
    try:
        if connects:
            own = {"num_cpus": cpus + 1, "include_dashboard": False} if address == LOCAL else {}
            ray.init(address=address, logging_level="warning", log_to_driver=False, **own)
        ray.data.DataContext.get_current().enable_progress_bars = False
        yield
    except ConnectionError as error:
        raise MissingCapabilityError(f"there is no Ray cluster at {address}: {error}") from error
    finally:
        if connects:
            ray.shutdown()
