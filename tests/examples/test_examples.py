"""The programs in examples/, run as a user runs them: on the edge device's environment, with files and over HTTP."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest

from vgg_runtime import Classifier
from vgg_runtime.bundle.directory import Bundle
from vgg_runtime.imaging.folders import find_images

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
PYTHON = ROOT / ".venv-runtime" / "bin" / "python"
SERVING = ROOT / "build" / "serving"

pytestmark = pytest.mark.skipif(not PYTHON.exists(), reason=".venv-runtime is not there: make .venv-runtime/ready")


@contextmanager
def started(*command: str | Path, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A process on the device with pipes for what it says; it is stopped in the end."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [PYTHON, *map(str, command)], stdout=pipe, stderr=pipe, text=True, env={**os.environ, **environment}
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def run(*command: str | Path) -> tuple[list[dict[str, Any]], str]:
    """The lines of JSON that the program prints, and what it says beside them."""
    done = subprocess.run([PYTHON, *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


@pytest.fixture(scope="module")
def classifier(example_bundle: Bundle) -> Iterator[Classifier]:
    with Classifier.open(example_bundle.directory, device="cpu") as opened:
        yield opened


@contextmanager
def endpoint(bundle: Bundle, *options: str) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """The port where an HTTP endpoint listens, and its process."""
    program = EXAMPLES / "http_endpoint" / "app.py"
    with started(program, bundle.directory, "0", *options, PYTHONPATH=str(SERVING)) as process:
        assert process.stderr is not None
        told = (re.search(r"http://127\.0\.0\.1:(\d+)", line) for line in process.stderr)
        yield next(int(found[1]) for found in told if found), process


@pytest.fixture(scope="module")
def port(example_bundle: Bundle) -> Iterator[int]:
    with endpoint(example_bundle) as (port, _):
        yield port


class TestFolderWatcher:
    PROGRAM = EXAMPLES / "folder_watcher" / "watch.py"

    def test_what_is_there_is_answered_once(self, example, example_bundle: Bundle, tmp_path: Path, classifier) -> None:
        for label in ("bag", "sandal"):
            shutil.copy(next((example.images / label).iterdir()), tmp_path / f"{label}.png")
        (tmp_path / "broken.png").write_bytes(b"no image")
        (tmp_path / "notes.txt").write_text("no image either, and not named like one")
        lines, said = run(self.PROGRAM, example_bundle.directory, tmp_path, "--once")
        assert said == ""
        assert [line["image"] for line in lines] == ["bag.png", "broken.png", "sandal.png"]
        assert "not in an image format" in lines[1]["error"]
        for line in (lines[0], lines[2]):
            best = classifier.predict(tmp_path / line["image"])[0]
            assert (line["label"], line["probability"]) == (best.label, pytest.approx(best.probability, abs=1e-4))

    def test_new_and_replaced_images_are_answered(self, example, example_bundle: Bundle, tmp_path: Path) -> None:
        def put(label: str) -> None:
            shutil.copy(next((example.images / label).iterdir()), tmp_path / "part")
            (tmp_path / "part").replace(tmp_path / "camera.png")

        with started(self.PROGRAM, example_bundle.directory, tmp_path, "--every", "0.01") as process:
            for label in ("bag", "trouser", "sandal"):
                put(label)
                assert process.stdout is not None
                line = json.loads(process.stdout.readline())
                assert (line["image"], line["label"]) == ("camera.png", label)


class TestCameraLoop:
    PROGRAM = EXAMPLES / "camera_loop" / "camera.py"

    @pytest.fixture
    def frames(self, example, tmp_path: Path) -> Path:
        for number, image in enumerate(find_images([example.images])):
            shutil.copy(image, tmp_path / f"{number:03d}.png")
        return tmp_path

    def test_the_last_frame_is_answered_however_fast_the_camera_is(self, example_bundle: Bundle, frames: Path) -> None:
        lines, said = run(self.PROGRAM, example_bundle.directory, frames, "--rate", "1000000", "--smoothing", "0")
        names = [line["frame"] for line in lines]
        assert names == sorted(set(names))
        assert names[-1] == "019.png"
        assert re.fullmatch(rf"{len(lines)} of 20 frames, [0-9.]+ per second\n", said)

    def test_shares_are_smoothed_over_the_frames_that_were_answered(
        self, example_bundle: Bundle, frames: Path, classifier: Classifier
    ) -> None:
        lines, _ = run(self.PROGRAM, example_bundle.directory, frames, "--rate", "200", "--smoothing", "0.8")
        assert len(lines) > 1
        shares: dict[str, float] = {}
        for line in lines:
            now = {each.label: each.probability for each in classifier.predict(frames / line["frame"], top_k=10)}
            shares = {label: 0.8 * shares.get(label, now[label]) + 0.2 * now[label] for label in now}
            assert line["share"] == pytest.approx(max(shares.values()), abs=1e-3)
            assert shares[line["label"]] == max(shares.values())


@pytest.mark.skipif(not (SERVING / "uvicorn").is_dir(), reason="build/serving is not there: make build/serving/ready")
class TestHttpEndpoint:
    def post(
        self, port: int, body: bytes, kind: str = "image/png", path: str = "/predict", length: int = 0, **query: str
    ) -> tuple[int, dict[str, Any]]:
        connection = HTTPConnection("127.0.0.1", port, timeout=60)
        headers = {"Content-Type": kind, "Content-Length": str(length or len(body))}
        connection.request("POST", f"{path}?{urlencode(query)}", body, headers)
        response = connection.getresponse()
        answer = json.loads(response.read())
        connection.close()
        return response.status, answer

    def test_an_image_gets_its_classes(self, example, port: int, classifier: Classifier) -> None:
        for image in find_images([example.images]):
            status, answer = self.post(port, image.read_bytes(), top_k="3")
            assert (status, answer["variant"]) == (200, "onnx-fp32")
            for there, here in zip(answer["predictions"], classifier.predict(image, top_k=3), strict=True):
                assert (there["label"], there["index"]) == (here.label, here.index)
                assert there["probability"] == pytest.approx(here.probability, abs=1e-6)

    def test_requests_at_once_get_each_its_own_answer(self, example, port: int) -> None:
        images = [image.read_bytes() for image in find_images([example.images])] * 2
        with ThreadPoolExecutor(8) as pool:
            at_once = list(pool.map(lambda image: self.post(port, image), images))
        for (status, answer), image in zip(at_once, images, strict=True):
            alone = self.post(port, image)[1]["predictions"]
            assert status == 200
            # In a batch the sums are added in another order.
            assert answer["predictions"] == [
                {**each, "probability": pytest.approx(each["probability"], abs=1e-6)} for each in alone
            ]

    @pytest.mark.parametrize(
        ("changes", "status", "message"),
        [
            ({"body": b"no image"}, 400, "not in an image format"),
            ({"body": b""}, 400, "empty"),
            ({"top_k": "0"}, 400, "an integer >= 1"),
            ({"top_k": "many"}, 400, "not a whole number"),
            ({"kind": "text/plain"}, 415, "text/plain"),
            ({"length": 17 * 2**20, "body": b""}, 413, "exceeds the capacity limit"),
            ({"path": "/"}, 404, "not found"),
        ],
        ids=lambda value: str(value)[:30],
    )
    def test_what_is_wrong_is_said(
        self, example, port: int, changes: dict[str, Any], status: int, message: str
    ) -> None:
        image = (example.images / "bag" / "00018.png").read_bytes()
        found, answer = self.post(port, **{"body": image, **changes})
        assert found == status
        assert message in answer["error"]
        assert self.post(port, image)[0] == 200  # it goes on

    def test_clients_of_triton_get_the_outputs_of_the_classifier(
        self, example, port: int, example_bundle: Bundle, classifier: Classifier, tmp_path: Path
    ) -> None:
        batch = np.stack([classifier.preprocess(image) for image in find_images([example.images])])
        np.save(tmp_path / "batch.npy", batch)
        name = example_bundle.directory.name.removesuffix(".bundle")
        client = [ROOT / "tests" / "serving" / "client.py", "http", f"127.0.0.1:{port}", name, tmp_path / "batch.npy"]
        environment = {**os.environ, "PYTHONPATH": str(SERVING)}
        done = subprocess.run([sys.executable, *client], capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        answers = json.loads(done.stdout)
        expected = classifier.run(list(batch))
        assert (answers["live"], answers["ready"], answers["model ready"]) == (True, True, True)
        assert answers["metadata"] == {
            "name": name,
            "versions": ["1"],
            "platform": "onnxruntime_onnx",
            "inputs": [{"name": "input", "datatype": "FP32", "shape": [-1, 1, 28, 28]}],
            "outputs": [{"name": "output", "datatype": "FP32", "shape": [-1, 10]}],
        }
        np.testing.assert_allclose(answers["outputs"], expected, atol=1e-4)
        np.testing.assert_allclose(answers["outputs as JSON"], expected, atol=1e-4)
        for outputs in answers["outputs of many clients"]:
            np.testing.assert_allclose(outputs, expected, atol=1e-4)
        assert "the input has shape [-1, 1, 28, 28], got [20, 1, 28, 27]" in answers["wrong shape"]
        assert "there is no model 'no_such_model'" in answers["wrong model"]
        assert "POST the image to /predict" in answers["classes"]

    def test_inference_request_may_be_plain_json(self, port: int, example_bundle: Bundle) -> None:
        name = example_bundle.directory.name.removesuffix(".bundle")
        tensor = {"name": "input", "datatype": "FP32", "shape": [1, 1, 28, 28], "data": [[[[0.5] * 28] * 28]]}
        body = json.dumps({"id": "one", "inputs": [tensor]}).encode()
        status, answer = self.post(port, body, kind="application/json", path=f"/v2/models/{name}/versions/1/infer")
        assert (status, answer["id"], answer["model_name"]) == (200, "one", name)
        assert answer["outputs"][0]["shape"] == [1, 10]
        assert len(answer["outputs"][0]["data"]) == 10

    @pytest.mark.parametrize(
        ("body", "message"),
        [
            (b"", "not an inference request"),
            (b"[]", "not an inference request"),
            (b"{}", "lacks 'inputs'"),
            (b'{"inputs": []}', "not an inference request"),
            (b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1, 28, 28]}]}', "the input is 'input' of"),
            (b'{"inputs": [{"name": "input", "datatype": "INT8", "shape": [1]}]}', "of datatype FP32"),
            (b'{"inputs": [{"name": "input", "datatype": "FP32", "shape": [0, 1, 28, 28]}]}', "[-1, 1, 28, 28]"),
            (b'{"inputs": [{"name": "input", "datatype": "FP32", "shape": [1, 1, 28, 28]}]}', "lacks 'data'"),
            (
                b'{"inputs": [{"name": "input", "datatype": "FP32", "shape": [1, 1, 28, 28], "data": [1]}]}',
                "another number of values than the 1",
            ),
            (
                b'{"inputs": [{"name": "input", "datatype": "FP32", "shape": [1, 1, 28, 28], "data": ["a"]}]}',
                "not an inference request",
            ),
            (
                b'{"inputs": [{"name": "input", "datatype": "FP32", "shape": [1, 1, 28, 28], '
                b'"parameters": {"binary_data_size": 3136}}]}',
                "binary_data_size is 3136, and 0 bytes follow",
            ),
        ],
    )
    def test_inference_request_that_is_wrong_is_refused(
        self, port: int, example_bundle: Bundle, body: bytes, message: str
    ) -> None:
        name = example_bundle.directory.name.removesuffix(".bundle")
        status, answer = self.post(port, body, kind="application/json", path=f"/v2/models/{name}/infer")
        assert status == 400
        assert message in answer["error"]

    def test_client_that_asks_too_often_gets_429(self, example, example_bundle: Bundle) -> None:
        image = (example.images / "bag" / "00018.png").read_bytes()
        with endpoint(example_bundle, "--rate", "0.001") as (port, _):
            assert self.post(port, image)[0] == 200
            status, answer = self.post(port, image)
            assert (status, answer["error"]) == (429, "more than 0.001 requests a second.")

    def test_metrics_count_answers_by_endpoint_and_status(self, example, example_bundle: Bundle) -> None:
        image = (example.images / "bag" / "00018.png").read_bytes()
        with endpoint(example_bundle) as (port, _):
            for body in (image, image, b"no image"):
                self.post(port, body)
            lines = metrics(port).splitlines()
        assert 'vgg_requests_total{endpoint="predict",status="200"} 2.0' in lines
        assert 'vgg_requests_total{endpoint="predict",status="400"} 1.0' in lines
        assert 'vgg_request_seconds_count{endpoint="predict"} 3.0' in lines
        assert "vgg_requests_under_way 1.0" in lines

    def test_request_under_way_is_answered_before_the_end(self, example, example_bundle: Bundle) -> None:
        image = (example.images / "bag" / "00018.png").read_bytes()
        header = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: {len(image)}\r\n\r\n"
        with endpoint(example_bundle) as (port, process), socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(header.encode() + image[:100])
            while "vgg_requests_under_way 2.0" not in metrics(port):
                pass
            process.send_signal(signal.SIGTERM)
            assert process.stderr is not None
            assert any("Shutting down" in line for line in process.stderr)
            connection.sendall(image[100:])
            assert connection.makefile("rb").readline() == b"HTTP/1.1 200 OK\r\n"
            assert process.wait(timeout=60) == -signal.SIGTERM


def metrics(port: int) -> str:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    return text
