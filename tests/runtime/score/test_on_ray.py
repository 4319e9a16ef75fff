"""The same on Ray, in a cluster of this machine: ``make test-ray``; skipped where Ray is not installed."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from vgg_runtime.errors import BundleError, UsageError
from vgg_score import ScoringProgress, score
from vgg_score.on_ray import predict_dataset

ray = pytest.importorskip("ray")
pytest.importorskip("ray.data")
cluster_utils = pytest.importorskip("ray.cluster_utils")

pytestmark = pytest.mark.filterwarnings("default")  # those of Ray are not ours

Rows = Callable[[Path], list[dict[str, Any]]]

DRIVER = """
import os, signal, sys
from vgg_score import score
def end(progress):
    os.kill(os.getpid(), signal.SIGKILL)
score(sys.argv[1], sys.argv[2], sys.argv[3], format="jsonl", shard_size=2, device="cpu", ray="local", on_progress=end)
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    cluster = cluster_utils.Cluster(head_node_args={"num_cpus": 3, "include_dashboard": False}, initialize_head=True)
    ray.init(cluster.address, log_to_driver=False)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def options(**more: Any) -> dict[str, Any]:
    return {"format": "jsonl", "shard_size": 2, "device": "cpu", "top_k": 1, "ray": "local", **more}


def test_driver_killed_on_ray_resumes(bundle: Path, many_photos: Path, tmp_path: Path, rows_of: Rows) -> None:
    command = [sys.executable, "-c", DRIVER, str(bundle), str(many_photos), str(tmp_path / "out")]
    assert subprocess.run(command, capture_output=True).returncode == -signal.SIGKILL
    present = len(list((tmp_path / "out").glob("part-*")))
    summary = score(bundle, many_photos, tmp_path / "out", resume=True, **options(top_k=5))
    assert present >= 1
    assert summary.images == 40
    assert_each_once(rows_of(tmp_path / "out"))


def test_actor_killed_on_ray_loses_nothing(
    bundle: Path, many_photos: Path, tmp_path: Path, rows_of: Rows, cluster: Any, processes_of: Any
) -> None:
    killed: list[psutil.Process] = []

    def kill_once(progress: ScoringProgress) -> None:
        if not killed:
            killed.extend(processes_of("_ShardActor"))
            killed[0].kill()

    summary = score(bundle, many_photos, tmp_path / "out", on_progress=kill_once, **options())
    assert killed
    assert (summary.images, summary.errors, summary.shards) == (40, 0, 20)
    assert_each_once(rows_of(tmp_path / "out"))


def test_node_killed_on_ray_loses_nothing(
    bundle: Path, many_photos: Path, tmp_path: Path, rows_of: Rows, cluster: Any, processes_of: Any
) -> None:
    # The only actor needs more CPUs than the head has, so it is on one of these, and then on the other.
    nodes = [cluster.add_node(num_cpus=4) for _ in range(2)]
    raylets = [psutil.Process(node.all_processes["raylet"][0].process.pid) for node in nodes]
    killed: list[psutil.Process] = []

    def kill_once(progress: ScoringProgress) -> None:
        if not killed:
            (raylet,) = (raylet for raylet in raylets if processes_of("_ShardActor", raylet))
            killed.extend([raylet, *raylet.children(recursive=True)])
            for process in killed:
                process.kill()

    summary = score(bundle, many_photos, tmp_path / "out", on_progress=kill_once, **options(threads=4))
    assert killed
    assert (summary.images, summary.errors, summary.shards) == (40, 0, 20)
    assert_each_once(rows_of(tmp_path / "out"))


def test_no_more_actors_than_shards_are_started(
    bundle: Path, many_photos: Path, tmp_path: Path, cluster: Any, recwarn: pytest.WarningsRecorder
) -> None:
    summary = score(bundle, many_photos, tmp_path / "out", **options(shard_size=20, workers=3))
    assert (summary.images, summary.shards) == (40, 2)
    assert not [each for each in recwarn if "number of concurrent actors" in str(each.message)]


def test_error_of_an_actor_is_that_of_the_run(bundle: Path, many_photos: Path, tmp_path: Path, cluster: Any) -> None:
    weights = bundle / "onnx-fp32" / "model.onnx.data"
    weights.write_bytes(bytes(weights.stat().st_size))
    with pytest.raises(BundleError, match="SHA-256 differs"):
        score(bundle, many_photos, tmp_path / "out", **options())


def test_dataset_of_bytes_becomes_one_of_predictions(bundle: Path, many_photos: Path, cluster: Any) -> None:
    (many_photos / "0" / "000-red.png").write_text("hello")
    dataset = ray.data.read_binary_files(str(many_photos), include_paths=True)
    rows = predict_dataset(dataset, bundle, top_k=1, batch_size=4).take_all()
    assert len(rows) == 40
    assert set(rows[0]) == {"path", "label_1", "index_1", "probability_1", "error"}
    for row in rows:
        colour = Path(row["path"]).stem[4:]
        if row["path"].endswith("000-red.png"):
            assert "is not in an image format" in row["error"]
        else:
            assert (row["label_1"], row["error"]) == (colour, None)


def assert_each_once(rows: list[dict[str, Any]]) -> None:
    assert len(rows) == 40
    assert set(Counter(row["id"] for row in rows).values()) == {1}
    assert all(Path(row["id"]).stem.endswith(row["label_1"]) for row in rows)


def test_a_gpu_of_an_index_is_refused(bundle: Path, cluster: Any) -> None:
    with pytest.raises(UsageError, match="Ray chooses the GPU of each worker, got `device='cuda:1'`"):
        predict_dataset(ray.data.from_items([{"bytes": b""}]), bundle, device="cuda:1")
