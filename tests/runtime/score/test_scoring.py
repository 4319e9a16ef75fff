"""Runs from images to shards, with real processes that are killed as a system kills them."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from vgg_runtime import Bundle, Classifier
from vgg_runtime._internal.cpu import available_threads
from vgg_runtime.errors import BundleError, MissingCapabilityError, SignatureError, UsageError
from vgg_runtime.imaging.folders import find_images
from vgg_score import ScoringProgress, score

Workers = Callable[[], list[psutil.Process]]
Rows = Callable[[Path], list[dict[str, Any]]]

# Kills itself, as the system would, in the callback of the batch whose number is given.
DRIVER = """
import os, signal, sys
import psutil
from vgg_score import score
bundle, source, output, batches = sys.argv[1:]
calls = []
def count(progress):
    calls.append(progress)
    if len(calls) == int(batches):
        print(*(child.pid for child in psutil.Process().children()), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
score(bundle, source, output, format="jsonl", workers=2, threads=2, shard_size=20, batch_size=4, device="cpu",
      resume=True, on_progress=count)
"""


def ids(rows: list[dict[str, Any]]) -> list[str]:
    return [row["id"] for row in rows]


@pytest.fixture
def running_workers(processes_of: Callable[..., list[psutil.Process]]) -> Workers:
    """Find the workers that this process has now."""
    return partial(processes_of, "_shard_worker")


@pytest.fixture
def no_process_is_left(running_workers: Workers) -> Iterator[None]:
    yield
    assert running_workers() == []


@pytest.mark.parametrize("workers", [1, 2])
def test_scores_are_those_of_predict_files(
    example_bundle: Bundle,
    calibration_photos: Path,
    tmp_path: Path,
    rows_of: Rows,
    workers: int,
    no_process_is_left: None,
) -> None:
    output, reports = tmp_path / "out", list[ScoringProgress]()
    summary = score(
        example_bundle.directory,
        calibration_photos,
        output,
        format="jsonl",
        top_k=3,
        workers=workers,
        threads=2,
        device="cpu",
        shard_size=70,
        on_progress=reports.append,
    )
    rows = rows_of(output)
    with Classifier(example_bundle.directory, device="cpu") as classifier:
        expected = list(classifier.predict_files(calibration_photos, top_k=3))
    assert sorted(ids(rows)) == [str(path) for path, _ in expected]
    by_id = {row["id"]: row for row in rows}
    for path, predictions in expected:
        row = by_id[str(path)]
        assert [row[f"label_{rank}"] for rank in (1, 2, 3)] == [prediction.label for prediction in predictions]
        assert [row[f"index_{rank}"] for rank in (1, 2, 3)] == [prediction.index for prediction in predictions]
        for rank, prediction in enumerate(predictions, 1):
            assert row[f"probability_{rank}"] == pytest.approx(prediction.probability, abs=1e-6)
        assert row["error"] is None
    assert (summary.images, summary.errors, summary.shards, summary.scored) == (300, 0, 5, 300)
    assert [progress.images for progress in reports] == sorted({progress.images for progress in reports})
    assert (reports[-1].images, reports[-1].total, reports[-1].seconds_left) == (300, 300, 0)


def test_refused_images_are_rows_with_errors(bundle: Path, many_photos: Path, tmp_path: Path, rows_of: Rows) -> None:
    (many_photos / "0" / "003-red.png").write_text("hello")
    (many_photos / "1" / "zzz.png").write_bytes(b"")
    summary = score(bundle, many_photos, tmp_path / "out", format="jsonl", top_k=9, device="cpu", shard_size=9)
    rows = {Path(row["id"]).stem: row for row in rows_of(tmp_path / "out")}
    assert (summary.images, summary.errors, len(rows)) == (41, 2, 41)
    assert rows["zzz"]["error"] == f"{many_photos}/1/zzz.png is empty (0 bytes)."
    assert "is not in an image format that Pillow reads." in rows["003-red"]["error"]
    assert rows.pop("zzz")["label_1"] is rows.pop("003-red")["label_1"] is None
    assert all(row["label_1"] == name[4:] and row["error"] is None for name, row in rows.items())
    assert set(rows["000-red"]) == {
        "id",
        "error",
        *(f"{name}_{k}" for name in ("label", "index", "probability") for k in (1, 2, 3)),
    }


def test_driver_killed_at_any_batch_resumes(
    example_bundle: Bundle, calibration_photos: Path, tmp_path: Path, rows_of: Rows
) -> None:
    # Every photo five times: enough that the workers are not at the end when their driver is killed.
    output, source, photos = tmp_path / "out", tmp_path / "list.txt", list(map(str, find_images(calibration_photos)))
    source.write_text("\n".join(photos * 5))
    for batches in (1, 12):
        command = [sys.executable, "-c", DRIVER, str(example_bundle.directory), str(source), str(output), str(batches)]
        killed = subprocess.run(command, capture_output=True, text=True)
        assert (killed.returncode, killed.stderr) == (-signal.SIGKILL, "")
        for pid in map(int, killed.stdout.split()):  # the workers end with their driver
            if psutil.pid_exists(pid):
                psutil.Process(pid).wait(timeout=60)
        present = len(list(output.glob("part-*.jsonl")))
        assert present < 75
        assert len(rows_of(output)) == 20 * present
    options: dict[str, Any] = {"format": "jsonl", "shard_size": 20, "device": "cpu"}
    summary = score(example_bundle.directory, source, output, resume=True, **options)
    assert (summary.images, summary.shards, summary.scored) == (1500, 75, 1500 - 20 * present)
    assert Counter(ids(rows_of(output))) == dict.fromkeys(photos, 5)
    assert not list(output.glob("*.part"))


@pytest.mark.parametrize("seed", range(3))
def test_resume_writes_the_absent_shards_alone(
    bundle: Path, many_photos: Path, tmp_path: Path, rows_of: Rows, seed: int
) -> None:
    output, options = tmp_path / "out", {"format": "jsonl", "shard_size": 3, "device": "cpu"}
    score(bundle, many_photos, output, **options)
    whole, files = rows_of(output), sorted(output.glob("part-*"))
    removed = np.random.default_rng(seed).choice(files, 5, replace=False).tolist()
    for file in removed:
        file.unlink()
    inodes = {file: file.stat().st_ino for file in set(files) - set(removed)}
    summary = score(bundle, many_photos, output, resume=True, **options)
    assert rows_of(output) == whole
    assert {file: file.stat().st_ino for file in inodes} == inodes
    assert summary.scored == sum(1 if file == files[-1] else 3 for file in removed)


def test_finished_run_resumes_to_the_same_summary(bundle: Path, many_photos: Path, tmp_path: Path) -> None:
    (many_photos / "broken.png").write_text("hello")
    options: dict[str, Any] = {"device": "cpu", "format": "csv", "shard_size": 10}
    first = score(bundle, many_photos, tmp_path / "out", **options)
    again = score(bundle, many_photos, tmp_path / "out", resume=True, **options)
    assert (again.images, again.errors, again.shards) == (first.images, first.errors, first.shards) == (41, 1, 5)
    assert (again.scored, again.rate) == (0, 0.0)


def test_killed_worker_is_replaced_and_nothing_is_lost(
    example_bundle: Bundle,
    calibration_photos: Path,
    tmp_path: Path,
    rows_of: Rows,
    no_process_is_left: None,
    running_workers: Workers,
) -> None:
    counts: list[int] = []

    def kill_once(progress: ScoringProgress) -> None:
        if not counts:
            running_workers()[0].kill()
        counts.append(progress.images)

    summary = score(
        example_bundle.directory,
        calibration_photos,
        tmp_path / "out",
        format="jsonl",
        batch_size=1,
        shard_size=300,
        device="cpu",
        on_progress=kill_once,
    )
    assert any(later < earlier for earlier, later in pairwise(counts))  # it was taken back
    assert (summary.images, summary.scored, counts[-1]) == (300, 300, 300)
    assert sorted(ids(rows_of(tmp_path / "out"))) == sorted(map(str, find_images(calibration_photos)))


def test_worker_killed_again_and_again_ends_the_run(
    example_bundle: Bundle, calibration_photos: Path, tmp_path: Path, no_process_is_left: None, running_workers: Workers
) -> None:
    def kill(progress: ScoringProgress) -> None:
        for child in running_workers():
            with suppress(psutil.NoSuchProcess):
                child.kill()

    with pytest.raises(MissingCapabilityError, match=r"3 processes were ended .* scored shard 0: signal 9") as refused:
        score(
            example_bundle.directory,
            calibration_photos,
            tmp_path / "out",
            format="jsonl",
            batch_size=1,
            shard_size=300,
            device="cpu",
            on_progress=kill,
        )
    assert "`resume=True` goes on" in refused.value.hint
    assert not list((tmp_path / "out").glob("part-*"))


def test_error_of_the_caller_ends_the_workers(
    bundle: Path, many_photos: Path, tmp_path: Path, no_process_is_left: None, running_workers: Workers
) -> None:
    def fail(progress: ScoringProgress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as raised:
        score(bundle, many_photos, tmp_path / "out", format="csv", workers=2, threads=2, shard_size=2, on_progress=fail)
    assert running_workers() == [], f"{raised.value!r} is kept, and its frames with it"


def test_error_of_a_worker_is_that_of_the_run(
    bundle: Path, many_photos: Path, tmp_path: Path, no_process_is_left: None
) -> None:
    weights = bundle / "onnx-fp32" / "model.onnx.data"
    weights.write_bytes(bytes(weights.stat().st_size))
    with pytest.raises(BundleError, match="SHA-256 differs"):
        score(bundle, many_photos, tmp_path / "out", format="csv", device="cpu")


def test_unsigned_bundle_is_not_scored_with_a_key(bundle: Path, many_photos: Path, tmp_path: Path, signer: Any) -> None:
    with pytest.raises(SignatureError, match="is not signed"):
        score(bundle, many_photos, tmp_path / "out", format="csv", key=signer.public)
    assert not (tmp_path / "out").exists()


def test_workers_hold_a_signed_bundle_to_the_key(
    signed_bundle: Path, decayed_bundle: Path, many_photos: Path, tmp_path: Path, signer: Any
) -> None:
    assert decayed_bundle == signed_bundle
    with pytest.raises(BundleError, match="SHA-256 differs"):
        score(signed_bundle, many_photos, tmp_path / "out", format="csv", device="cpu", key=signer.public)


def test_full_disk_ends_the_run(bundle: Path, many_photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"

    def forbid(progress: ScoringProgress) -> None:
        (output / "part-000001.csv").mkdir(exist_ok=True)  # a shard cannot take the place of a folder
        (output / "part-000001.csv" / "full").touch()

    with pytest.raises(MissingCapabilityError, match=r"predictions cannot be written to .*out: Is a directory"):
        score(bundle, many_photos, output, format="csv", device="cpu", shard_size=20, batch_size=1, on_progress=forbid)


def test_model_of_fixed_batch_size_scores_all(
    make_bundle: Callable[..., Path], many_photos: Path, tmp_path: Path, rows_of: Rows
) -> None:
    score(make_bundle(batch=3), many_photos, tmp_path / "out", format="jsonl", device="cpu", shard_size=8)
    rows = rows_of(tmp_path / "out")
    assert len(rows) == 40
    assert all(Path(row["id"]).stem.endswith(row["label_1"]) for row in rows)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_k": 0}, "`top_k` must be an integer >= 1, got 0"),
        ({"batch_size": 1.5}, "`batch_size` must be an integer >= 1, got 1.5"),
        ({"shard_size": 0}, "`shard_size` must be an integer >= 1, got 0"),
        ({"workers": 0}, "`workers` must be an integer >= 1, got 0"),
        ({"threads": 0}, "`threads` must be an integer >= 1, got 0"),
        ({"workers": 3, "threads": 2}, "3 `workers` need as many threads, and there are 2"),
        ({"workers": available_threads() + 1}, "`workers` need as many threads"),
        ({"format": "xml"}, "`format` must be one of parquet, jsonl, csv, got 'xml'"),
        ({"backend": "auto"}, "`backend='auto'` is not available here"),
    ],
)
def test_argument_out_of_range_is_refused(
    bundle: Path, many_photos: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        score(bundle, many_photos, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_threads_are_divided_among_the_workers() -> None:
    from vgg_score.scoring import _divide

    assert [_divide(8, workers) for workers in (1, 2, 3, 8)] == [[8], [4, 4], [3, 3, 2], [1] * 8]
    assert sum(_divide(None, 1)) == available_threads()
