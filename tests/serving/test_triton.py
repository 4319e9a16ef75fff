"""A repository that ``write_model`` has written, served by a real Triton: ``make test-triton``."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vgg_runtime import Classifier
from vgg_runtime.imaging.folders import find_images
from vgg_triton import write_model

ROOT = Path(__file__).parents[2]
SERVING = ROOT / "build" / "serving"
PYTHON = f"python{sys.version_info[0]}.{sys.version_info[1]}"
PACKAGES = ROOT / "build" / "triton" / "lib" / PYTHON / "site-packages"
TRITON = PACKAGES / "pytriton" / "tritonserver"
PROTOCOLS = ("http", "grpc")

pytestmark = [
    pytest.mark.triton,
    pytest.mark.skipif(not TRITON.exists(), reason="no Triton in build/triton: make test-triton puts it there"),
    pytest.mark.skipif(not SERVING.exists(), reason="build/serving is not there: make build/serving/ready"),
]


@pytest.fixture(scope="module")
def bundles(example, made_once: Callable[..., Path], untimed_export: Callable[..., None]) -> dict[str, Path]:
    """The example in two variants, and as one that takes pixels."""
    options = {
        "planes": {**example.options, "formats": "onnx", "quantize": "int8-weights"},
        "pixels": {**example.options, "formats": "onnx", "embed_preprocessing": True},
    }
    return {
        name: made_once(f"serving/{name}.bundle", lambda path, options=options: untimed_export(example, options, path))
        for name, options in options.items()
    }


@pytest.fixture(scope="module")
def batch(example, bundles: dict[str, Path]) -> np.ndarray:
    """Eight photographs as the network takes them."""
    with Classifier(bundles["planes"], device="cpu") as classifier:
        return np.stack([classifier.preprocess(image) for image in find_images([example.images])[:8]])


def expected(model: Path, batch: np.ndarray, variant: str | None = None) -> np.ndarray:
    with Classifier(model, variant=variant, device="cpu") as classifier:
        return classifier.logits(batch)


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Server:
    """A Triton that serves ``repository``; models are loaded when asked for."""

    def __init__(self, repository: Path, ports: list[int]) -> None:
        self.repository = repository
        self.addresses = {name: f"127.0.0.1:{port}" for name, port in zip(PROTOCOLS, ports, strict=True)}

    def ask(self, protocol: str, model: str, batch: np.ndarray) -> dict[str, Any]:
        """Return what tests/serving/client.py is answered."""
        file = self.repository.parent / "batch.npy"
        np.save(file, batch)
        return json.loads(run_client(ROOT / "tests/serving/client.py", protocol, self.addresses[protocol], model, file))

    def load(self, model: str) -> list[str]:
        """Have the versions of a model loaded as they are now; return those that are served."""
        return json.loads(run_client("-c", LOAD, self.addresses["http"], model))

    def statistics(self, model: str) -> dict[str, Any]:
        return json.loads(run_client("-c", STATISTICS, self.addresses["http"], model))


STATISTICS = """
import json, sys
from tritonclient.http import InferenceServerClient
with InferenceServerClient(sys.argv[1]) as client:
    print(json.dumps(client.get_inference_statistics(sys.argv[2])["model_stats"][0]))
"""
LOAD = """
import json, sys
from tritonclient.http import InferenceServerClient
with InferenceServerClient(sys.argv[1], network_timeout=120) as client:
    client.load_model(sys.argv[2])
    print(json.dumps(client.get_model_metadata(sys.argv[2])["versions"]))
"""


def run_client(*command: str | Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(SERVING)}
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def served(repository: Path, backends: Path) -> Iterator[Server]:
    shutil.copytree(TRITON / "backends" / "python", backends / "python")
    stub = TRITON / "python_backend_stubs" / PYTHON.removeprefix("python") / "triton_python_backend_stub"
    shutil.copy(stub, backends / "python")
    shutil.copytree(ROOT / "tests" / "serving" / "onnxruntime_backend", backends / "onnxruntime")
    ports = free_ports(2)
    options = {
        "model-repository": repository,
        "backend-directory": backends,
        "model-control-mode": "explicit",
        "load-model": "*",
        "allow-metrics": "false",
        "exit-timeout-secs": 5,
        **{f"{name}-address": "127.0.0.1" for name in PROTOCOLS},
        **{f"{name}-port": port for name, port in zip(PROTOCOLS, ports, strict=True)},
    }
    command = [TRITON / "bin" / "tritonserver", *(f"--{name}={value}" for name, value in options.items())]
    libraries = {"LD_LIBRARY_PATH": str(PACKAGES / "nvidia_pytriton.libs"), "PYTHONPATH": str(PACKAGES)}
    environment = {**os.environ, **libraries}
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment
    ) as process:
        try:
            assert process.stderr is not None
            log: list[str] = []
            for line in process.stderr:
                log.append(line)
                if re.search("Started HTTPService", line):
                    break
            else:
                pytest.fail("".join(log))
            threading.Thread(target=process.stderr.read, daemon=True).start()
            yield Server(repository, ports)
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def server(bundles: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("triton")
    for name, bundle in bundles.items():
        write_model(bundle, folder / "models", name=name, variant="onnx-fp32")
    with served(folder / "models", folder / "backends") as started:
        yield started


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_clients_get_the_outputs_of_the_classifier(
    server: Server, bundles: dict[str, Path], batch: np.ndarray, protocol: str
) -> None:
    answers = server.ask(protocol, "planes", batch)
    outputs = expected(bundles["planes"], batch)
    assert (answers["live"], answers["ready"], answers["model ready"]) == (True, True, True)
    np.testing.assert_allclose(answers["outputs"], outputs, atol=1e-4)
    if protocol == "http":
        np.testing.assert_allclose(answers["outputs as JSON"], outputs, atol=1e-4)
    assert len(answers["outputs of many clients"]) == 32
    for one in answers["outputs of many clients"]:
        np.testing.assert_allclose(one, outputs, atol=1e-4)
    assert "unexpected shape for input 'input' for model 'planes'. Expected [-1,1,28,28], got [8,1,28,27]" in " ".join(
        answers["wrong shape"].split()
    )
    assert "unknown model: 'no_such_model'" in answers["wrong model"]
    labels = json.loads((bundles["planes"] / "bundle.json").read_text())["labels"]
    assert [best[0].split(":")[1:] for best in answers["classes"]] == [
        [str(row.argmax()), labels[row.argmax()]] for row in outputs
    ]


def test_requests_of_many_clients_run_in_batches(server: Server, batch: np.ndarray) -> None:
    before = server.statistics("planes")
    server.ask("grpc", "planes", batch)
    after = server.statistics("planes")
    images, runs = (int(after[name]) - int(before[name]) for name in ("inference_count", "execution_count"))
    alone = 32 * len(batch)
    assert images == alone + 3 * len(batch)
    assert runs < 0.9 * alone


def test_embedded_preprocessing_takes_pixels(server: Server, bundles: dict[str, Path], example) -> None:
    with Classifier(bundles["pixels"], device="cpu") as classifier:
        pixels = np.stack([classifier.preprocess(image) for image in find_images([example.images])[:8]])
    answers = server.ask("http", "pixels", pixels)
    np.testing.assert_allclose(answers["outputs"], expected(bundles["pixels"], pixels), atol=1e-4)


def test_next_version_is_rolled_out_and_back(server: Server, bundles: dict[str, Path], batch: np.ndarray) -> None:
    first, second = (expected(bundles["planes"], batch, variant) for variant in ("onnx-fp32", "onnx-int8-weights"))
    assert not np.allclose(first, second, atol=1e-3)
    model = write_model(bundles["planes"], server.repository, name="planes", variant="onnx-int8-weights")
    assert server.load("planes") == ["2"]
    np.testing.assert_allclose(server.ask("http", "planes", batch)["outputs"], second, atol=1e-3)
    (model.directory / "2").rename(server.repository.parent / "withdrawn")
    assert server.load("planes") == ["1"]
    np.testing.assert_allclose(server.ask("http", "planes", batch)["outputs"], first, atol=1e-4)
