"""What onnxruntime-gpu shows: ``make test-gpu`` on a GPU, ``make test-cuda-stand-in`` without one.

The stand-in for NVIDIA's libraries carries out copies and matrix products alone (see stand_in/stand_in.c). A network of
nothing else then takes the place of the example.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vgg_bench.results import Results
from vgg_bench.timing.nvml import gpu_name, used_megabytes
from vgg_runtime import Classifier, CudaOptions, verify_bundle
from vgg_runtime.backends.base import SessionConfig
from vgg_runtime.backends.cuda_presence import CUDA_PROVIDER, require_cuda
from vgg_runtime.backends.onnxruntime_cpu import create_session, session_options
from vgg_runtime.backends.onnxruntime_cuda import provider_settings
from vgg_runtime.bundle.directory import Bundle, open_bundle
from vgg_runtime.errors import MissingCapabilityError, OutOfMemoryError
from vgg_runtime.metrics import snr_db


def why_not() -> str:
    """What of CUDA this machine lacks; nothing where it has all of it."""
    try:
        require_cuda()
    except MissingCapabilityError as error:
        return error.message
    return ""


ON_STAND_IN = "STAND_IN_MB" in os.environ
NEEDS_KERNELS = pytest.mark.skipif(ON_STAND_IN, reason="the stand-in for a GPU has no kernels")

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(bool(why_not()), reason=why_not())]

BATCH = np.random.default_rng(0).standard_normal((64, 1, 28, 28), dtype=np.float32)
GRAPHS = CudaOptions(graph_batch_sizes=(1, 8))

Open = Callable[..., Classifier]


@pytest.fixture(scope="session")
def network(request: pytest.FixtureRequest, example: Any, made_once: Any) -> Bundle:
    """The example; on the stand-in a network of matrix products, which takes the same images."""
    if not ON_STAND_IN:
        bundle: Bundle = request.getfixturevalue("example_bundle")
        return bundle
    from torch import nn, save

    from vgg_export import export

    def write(bundle: Path) -> None:
        checkpoint = bundle.with_name("products.pth")
        layers = [nn.Linear(28 * 28, 1000, bias=False), nn.Linear(1000, 10, bias=False)]
        save(nn.Sequential(nn.Flatten(), *layers), checkpoint)
        export(checkpoint, bundle, formats=["onnx"], preprocess=example.options["preprocess"], labels=None)

    return open_bundle(made_once("products/products.bundle", write))


@pytest.fixture
def open_on_cuda(network: Bundle) -> Iterator[Open]:
    opened: list[Classifier] = []

    def open_classifier(cuda: CudaOptions | None = None) -> Classifier:
        opened.append(Classifier.open(network.directory, variant="onnx-fp32", device="cuda", cuda=cuda))
        return opened[-1]

    yield open_classifier
    for classifier in opened:
        classifier.close()


@pytest.fixture
def cpu(network: Bundle) -> Iterator[Classifier]:
    with Classifier.open(network.directory, variant="onnx-fp32", device="cpu") as classifier:
        yield classifier


def test_auto_takes_cuda_and_says_so(network: Bundle) -> None:
    with Classifier.open(network.directory, device="auto") as classifier:
        assert (classifier.device, classifier.device_reason) == ("cuda", "CUDA is available")


class TestDevices:
    def test_the_first_gpu_has_an_index_too(self, network: Bundle, cpu: Classifier) -> None:
        with Classifier.open(network.directory, device="cuda:0") as classifier:
            assert classifier.device == "cuda"
            assert snr_db(cpu.logits(BATCH), classifier.logits(BATCH)) > 100

    def test_a_gpu_that_is_absent_is_not_replaced(self, network: Bundle) -> None:
        with pytest.raises(MissingCapabilityError, match="the GPU 99 cannot be used"):
            Classifier.open(network.directory, device="cuda:99")

    def test_a_variant_opens_there_or_says_that_it_cannot(self, whole_bundle: Bundle) -> None:
        refused: dict[str, str] = {}
        for variant in whole_bundle.manifest.variants:
            if variant.format == "onnx":
                try:
                    Classifier.open(whole_bundle.directory, variant=variant.name, device="cuda").close()
                except MissingCapabilityError as error:
                    refused[variant.name] = error.message
        assert list(refused) == ["onnx-int8-dynamic"]
        assert "on the CPU only: DynamicQuantizeLinear, MatMulInteger" in refused["onnx-int8-dynamic"]

    @NEEDS_KERNELS
    def test_a_variant_answers_as_on_the_cpu(self, whole_bundle: Bundle) -> None:
        for variant in whole_bundle.manifest.variants:
            if variant.format != "onnx" or variant.name == "onnx-int8-dynamic":
                continue
            outputs = []
            for device in ("cpu", "cuda"):
                with Classifier.open(whole_bundle.directory, variant=variant.name, device=device) as classifier:
                    outputs.append(classifier.logits(BATCH))
                    assert classifier.device == device
            assert snr_db(*outputs) > (100 if variant.precision == "fp32" else 15), variant.name


class TestParity:
    def test_the_golden_outputs_come_out_on_cuda(self, network: Bundle) -> None:
        assert verify_bundle(network.directory, device="cuda")

    @pytest.mark.parametrize("size", [1, 2, 5, 64])
    def test_cuda_and_cpu_agree_to_float_rounding(self, open_on_cuda: Open, cpu: Classifier, size: int) -> None:
        assert snr_db(cpu.logits(BATCH[:size]), open_on_cuda().logits(BATCH[:size])) > 100

    @NEEDS_KERNELS
    def test_pixels_are_scaled_and_normalized_on_the_device(self, embedded_bundle: Bundle) -> None:
        pixels = np.random.default_rng(0).integers(0, 256, (8, 28, 28, 1), dtype=np.uint8)
        outputs = []
        for device in ("cpu", "cuda"):
            with Classifier.open(embedded_bundle.directory, variant="onnx-fp32", device=device) as classifier:
                outputs.append(classifier.logits(pixels))
        assert snr_db(*outputs) > 100

    def test_tf32_is_close_and_told(self, open_on_cuda: Open, cpu: Classifier) -> None:
        classifier = open_on_cuda(CudaOptions(tf32=True))
        assert classifier.device_reason == "CUDA is available, with TF32"
        assert snr_db(cpu.logits(BATCH), classifier.logits(BATCH)) > 40


class TestBuffersOnTheDevice:
    def test_outputs_are_those_of_a_plain_run(self, open_on_cuda: Open, network: Bundle) -> None:
        variant = network.manifest.variant("onnx-fp32")
        path: Path = network.path(variant.file)
        settings = provider_settings(CudaOptions(), captured=False)
        plain = create_session(path, session_options(SessionConfig("cuda", 1)), CUDA_PROVIDER, settings)
        name = plain.get_inputs()[0].name
        classifier = open_on_cuda()
        for start, size in ((0, 1), (5, 8), (13, 1), (20, 8), (30, 3)):
            batch = BATCH[start : start + size]
            expected = plain.run(None, {name: batch})[0]
            np.testing.assert_allclose(classifier.logits(batch), expected, rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize("cuda", [None, GRAPHS], ids=["plain", "graphs"])
    def test_sixteen_threads_get_the_serial_answers(
        self, open_on_cuda: Open, cpu: Classifier, cuda: CudaOptions | None
    ) -> None:
        classifier = open_on_cuda(cuda)
        batches = [BATCH[i % 50 : i % 50 + (1, 8, 3)[i % 3]] for i in range(600)]
        with ThreadPoolExecutor(16) as pool:
            outputs = list(pool.map(classifier.logits, batches))
        for output, batch in zip(outputs, batches, strict=True):
            assert snr_db(cpu.logits(batch), output) > 100


def test_captured_graphs_give_what_plain_sessions_give(open_on_cuda: Open) -> None:
    plain, captured = open_on_cuda(), open_on_cuda(GRAPHS)
    for start in range(20):  # a graph is captured at first, and replayed ever after
        for size in (1, 8, 3):
            batch = BATCH[start : start + size]
            np.testing.assert_allclose(captured.logits(batch), plain.logits(batch), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("graph_batch_sizes", [(), (8,)], ids=["plain", "graphs"])
def test_after_out_of_memory_the_next_request_works(
    open_on_cuda: Open, cpu: Classifier, graph_batch_sizes: tuple[int, ...]
) -> None:
    classifier = open_on_cuda(CudaOptions(memory_limit=2**28, graph_batch_sizes=graph_batch_sizes))
    for _ in range(3):
        with pytest.raises(OutOfMemoryError, match="smaller batch"):
            classifier.logits(np.zeros((2**17, 1, 28, 28), np.float32))
        assert snr_db(cpu.logits(BATCH[:8]), classifier.logits(BATCH[:8])) > 100


@pytest.mark.parametrize("cuda", [None, GRAPHS], ids=["plain", "graphs"])
def test_the_devices_memory_does_not_grow(open_on_cuda: Open, cuda: CudaOptions | None) -> None:
    if used_megabytes() is None:
        pytest.skip("the driver does not tell how much of the GPU's memory is taken, or nvidia-ml-py is missing")
    classifier = open_on_cuda(cuda)

    def used_after(calls: int) -> float:
        for i in range(calls):
            classifier.logits(BATCH[: i % 16 + 1])
        return used_megabytes() or 0.0

    before = used_after(200)
    assert used_after(2000) <= before + 8


# Answers each line on stdin with the outputs for a batch of that size.
PROCESS = """
import json, sys
import numpy as np
from vgg_runtime import Classifier
batch = np.random.default_rng(0).standard_normal((64, 1, 28, 28), dtype=np.float32)
with Classifier.open(sys.argv[1], variant="onnx-fp32", device="cuda") as classifier:
    for line in sys.stdin:
        print(json.dumps(classifier.logits(batch[: int(line)]).tolist()), flush=True)
"""


class OtherProcess:
    """A process with a classifier of its own on the same GPU."""

    def __init__(self, bundle: Path) -> None:
        command = [sys.executable, "-c", PROCESS, str(bundle)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, size: int) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{size}\n")
        self.process.stdin.flush()

    def answer(self) -> np.ndarray:
        assert self.process.stdout is not None
        return np.array(json.loads(self.process.stdout.readline()), np.float32)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


class TestProcesses:
    def test_two_at_once_give_the_answers_of_one(self, network: Bundle, cpu: Classifier) -> None:
        with (
            closing(OtherProcess(network.directory)) as first,
            closing(OtherProcess(network.directory)) as second,
        ):
            for i in range(100):
                size = (1, 8, 3, 64)[i % 4]
                for each in (first, second):
                    each.ask(size)
                for each in (first, second):
                    assert snr_db(cpu.logits(BATCH[:size]), each.answer()) > 100

    def test_one_that_is_killed_leaves_nothing_behind(
        self, network: Bundle, open_on_cuda: Open, cpu: Classifier
    ) -> None:
        classifier = open_on_cuda()
        classifier.logits(BATCH)
        before = used_megabytes()
        with closing(OtherProcess(network.directory)) as other:
            other.ask(1)
            other.answer()
            for _ in range(50):
                other.ask(64)  # and is killed among them
        assert snr_db(cpu.logits(BATCH), classifier.logits(BATCH)) > 100
        if before is None:
            pytest.skip("the driver does not tell how much of the GPU's memory is taken, or nvidia-ml-py is missing")
        for _ in range(50):  # the driver takes a moment
            if (used_megabytes() or 0.0) <= before + 8:
                return
            time.sleep(0.1)
        pytest.fail(f"{before:.0f} MB were used before it started, {used_megabytes():.0f} MB after it was killed")


def test_vgg_bench_measures_the_gpu_by_its_name(network: Bundle) -> None:
    code = "from vgg_bench.cli import main; main()"
    command = [sys.executable, "-c", code, str(network.directory), "--device", "cuda", "--quick", "--json", "-"]
    results = Results.parse(subprocess.run(command, check=True, capture_output=True).stdout, source="vgg-bench")
    assert results.machine.gpu
    assert results.machine.gpu == gpu_name()
    rows = {row.subject.backend: row for row in results.rows if row.subject.variant == "onnx-fp32"}
    assert list(rows) == ["onnxruntime-cuda", "onnxruntime-cuda-tf32", "onnxruntime-cuda-graph"]
    for row in rows.values():
        assert row.failure is None
        assert row.latency is not None
        assert row.latency.copies is not None
        assert 0 < row.latency.copies.value < row.latency.p50.value
