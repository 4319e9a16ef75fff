from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vgg_runtime.benchmark.worker import image_like_batch


def talk(
    command: list[str], *requests: dict[str, float]
) -> tuple[list[dict[str, object]], subprocess.CompletedProcess]:
    """Send the requests to the process and return its answers, and how it ended."""
    lines = "".join(json.dumps(request) + "\n" for request in requests)
    done = subprocess.run(command, input=lines, capture_output=True, text=True)
    return [json.loads(line) for line in done.stdout.splitlines()], done


def of_bundle(bundle: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "vgg_runtime.benchmark.worker", str(bundle), *options]


@pytest.mark.parametrize("batch", ["batch", 3])
def test_it_says_when_it_is_ready_then_answers_each_request_and_ends_with_its_input(make_bundle, batch) -> None:
    command = of_bundle(make_bundle(batch=batch), "--variant", "onnx-fp32", "--batch-size", "2", "--threads", "1")
    answers, done = talk(command, {"seconds": 0, "least": 3}, {"seconds": 0, "least": 1})
    assert done.returncode == 0
    assert done.stderr == ""
    assert answers[0] == {"ready": True}
    assert [len(answer["latencies"]) for answer in answers[1:]] == [3, 1]


def test_nothing_is_called_but_what_is_asked_for() -> None:
    code = (
        "from vgg_runtime.benchmark.worker import serve; calls = []; serve(lambda: calls.append(1)); "
        "import sys; sys.stderr.write(str(len(calls)))"
    )
    _, done = talk([sys.executable, "-c", code], {"seconds": 0, "least": 5})
    assert int(done.stderr) == 3 + 1 + 5  # to warm up, before the turn, and those that count


def test_a_bundle_without_the_variant_is_an_error_on_the_last_line(make_bundle) -> None:
    answers, done = talk(of_bundle(make_bundle(), "--variant", "onnx-int8-static"))
    assert answers == []
    assert done.returncode != 0
    assert "the bundle has no variant 'onnx-int8-static'" in done.stderr.splitlines()[-1]


def test_the_batch_is_the_same_everywhere_and_as_spread_as_images() -> None:
    batch = image_like_batch((2, 3, 32, 32))
    assert (batch.shape, batch.dtype) == ((2, 3, 32, 32), np.float32)
    np.testing.assert_array_equal(batch, image_like_batch((2, 3, 32, 32)))
    assert abs(batch.mean()) < 0.1
    assert abs(batch.std() - 1) < 0.1
