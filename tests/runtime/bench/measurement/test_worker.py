from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vgg_bench.cases import WORKER
from vgg_bench.timing.serve import image_like_batch

TURN = {"seconds": 0, "min_calls": 3, "max_calls": 5}


def talk(
    command: list[str], *requests: dict[str, object]
) -> tuple[list[dict[str, object]], subprocess.CompletedProcess]:
    """Send the requests to the process and return its answers, and how it ended."""
    lines = "".join(json.dumps(request) + "\n" for request in requests)
    done = subprocess.run(command, input=lines, capture_output=True, text=True)
    return [json.loads(line) for line in done.stdout.splitlines()], done


def of_bundle(bundle: Path, *options: str) -> list[str]:
    return [*WORKER, str(bundle), *options]


def counting(call: str = "None") -> list[str]:
    """A worker whose call is counted; the count is what it says at the end."""
    code = (
        "import sys; from vgg_bench.timing.serve import serve; calls = []; "
        f"serve(lambda: (calls.append(1), {call})); sys.stderr.write(str(len(calls)))"
    )
    return [sys.executable, "-c", code]


@pytest.mark.parametrize("batch", ["batch", 3])
def test_worker_answers_each_request_and_ends_with_its_input(make_bundle, batch) -> None:
    command = of_bundle(make_bundle(batch=batch), "--variant", "onnx-fp32", "--batch-size", "2", "--threads", "1")
    answers, done = talk(command, TURN, TURN | {"min_calls": 1})
    assert done.returncode == 0
    assert done.stderr == ""
    assert 0 < answers[0].pop("load_s") < 60
    assert answers[0] == {}
    assert [len(answer["latencies"]) for answer in answers[1:]] == [3, 1]
    assert answers[1]["copies_s"] is answers[1]["gpu_mb"] is None
    assert answers[1]["memory"]["peak"] >= answers[1]["memory"]["steady"] > answers[1]["memory"]["private"] > 1


def test_a_lone_file_is_run_on_the_bundles_input(make_bundle, write_model, tmp_path: Path) -> None:
    write_model(tmp_path / "lone.onnx", batch=2)
    command = of_bundle(make_bundle(), "--file", str(tmp_path / "lone.onnx"), "--batch-size", "2")
    answers, done = talk(command, TURN)
    assert done.stderr == ""
    assert len(answers[1]["latencies"]) == 3


@pytest.mark.parametrize(("turn", "calls"), [({"seconds": 0, "min_calls": 5, "max_calls": 9}, 5), ({"seconds": 9}, 5)])
def test_a_turn_takes_its_time_but_no_more_calls_than_most(turn: dict[str, float], calls: int) -> None:
    answers, _ = talk(counting(), TURN | turn)
    assert len(answers[1]["latencies"]) == calls


def test_it_warms_up_until_calls_get_no_faster() -> None:
    """Each of the first five is half as slow as the one before: a clock of its own tells so."""
    clock = "import itertools, time; durations = itertools.chain([32, 16, 8, 4, 2], itertools.repeat(1)); now = [0.0]; "
    patch = "time.perf_counter = lambda: now[0]; "
    work = "now.__setitem__(0, now[0] + next(durations))"
    code = (
        clock + patch + "import vgg_bench.timing.serve as w; calls = []\n"
        f"w._warm_up(lambda: (calls.append(1), {work}))\nprint(len(calls))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == 6 + 2  # down to 1, and two that are no faster


def test_it_answers_with_the_best_class_of_each_image(make_bundle, tmp_path: Path) -> None:
    """The model of the bundle tells which plane has the greatest mean; its batch of 2 is filled up for the last."""
    images = np.zeros((3, 3, 6, 8), np.float32)
    for image, best in enumerate((2, 0, 1)):
        images[image, best] = 1
    np.save(tmp_path / "images.npy", images)
    command = of_bundle(make_bundle(batch=2), "--variant", "onnx-fp32")
    answers, done = talk(command, {"classify": str(tmp_path / "images.npy")})
    assert done.stderr == ""
    assert answers[1] == {"classes": [2, 0, 1]}


def test_missing_variant_is_an_error_on_the_last_line(make_bundle) -> None:
    answers, done = talk(of_bundle(make_bundle(), "--variant", "onnx-int8-static"))
    assert answers == []
    assert done.returncode == 3
    assert "the bundle has no variant 'onnx-int8-static'" in done.stderr.splitlines()[-1]


def test_batch_is_repeatable_and_as_spread_as_images() -> None:
    batch = image_like_batch((2, 3, 32, 32))
    assert (batch.shape, batch.dtype) == ((2, 3, 32, 32), np.float32)
    np.testing.assert_array_equal(batch, image_like_batch((2, 3, 32, 32)))
    assert abs(batch.mean()) < 0.1
    assert abs(batch.std() - 1) < 0.1
