"""What only a machine with an NVIDIA GPU and onnxruntime-gpu can show: ``make test-gpu``."""

from __future__ import annotations

import numpy as np
import pytest

from vgg_runtime import Classifier, verify_bundle
from vgg_runtime.backends.onnxruntime_backend import import_onnxruntime
from vgg_runtime.bundle import Bundle
from vgg_runtime.parity import snr_db

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        "CUDAExecutionProvider" not in import_onnxruntime().get_available_providers(),
        reason="the installed onnxruntime has no CUDA execution provider",
    ),
]


def test_the_golden_outputs_come_out_on_cuda(example_bundle: Bundle) -> None:
    assert verify_bundle(example_bundle.directory, device="cuda")


def test_cuda_and_cpu_agree_to_float_rounding_at_every_batch_size(example_bundle: Bundle) -> None:
    batch = np.random.default_rng(0).standard_normal((5, 1, 28, 28), dtype=np.float32)
    with (
        Classifier.open(example_bundle.directory, device="cuda") as cuda,
        Classifier.open(example_bundle.directory, device="cpu") as cpu,
    ):
        assert cuda.device == "cuda"
        for size in (1, 2, 5):
            assert snr_db(cpu.logits(batch[:size]), cuda.logits(batch[:size])) > 100


def test_auto_takes_cuda_and_says_so(example_bundle: Bundle) -> None:
    with Classifier.open(example_bundle.directory, device="auto") as classifier:
        assert (classifier.device, classifier.device_reason) == ("cuda", "CUDA is available")
