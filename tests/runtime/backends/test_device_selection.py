from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from vgg_runtime import Classifier, CudaOptions
from vgg_runtime.backends import cuda_presence, device_selection
from vgg_runtime.backends.base import SessionConfig
from vgg_runtime.backends.device_selection import open_on_device
from vgg_runtime.errors import BundleError, MissingCapabilityError, UsageError

WITHOUT_CUDA = pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="this onnxruntime has CUDA"
)
BATCH = np.random.default_rng(0).random((2, 3, 6, 8), dtype=np.float32)


@WITHOUT_CUDA
def test_auto_takes_the_cpu_and_says_why(model: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        backend = open_on_device(model, SessionConfig("auto", 1))
    assert backend.device == "cpu"
    assert "is built without CUDA" in backend.device_reason
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("INFO", f"running on the CPU: {backend.device_reason}")
    ]


@WITHOUT_CUDA
def test_cuda_is_never_replaced_by_the_cpu(model: Path) -> None:
    with pytest.raises(MissingCapabilityError, match=r"CUDA is missing: .* is built without CUDA") as error:
        open_on_device(model, SessionConfig("cuda", 1))
    assert "vgg-deploy[gpu]" in error.value.hint


@pytest.mark.usefixtures("cuda_on_cpu")
class TestWhereCudaIs:
    @pytest.mark.parametrize(("asked", "device"), [("auto", "cuda"), ("cuda", "cuda"), ("cpu", "cpu")])
    def test_it_is_taken_unless_the_cpu_was_asked_for(self, model: Path, asked: Any, device: str) -> None:
        backend = open_on_device(model, SessionConfig(asked, 1))
        reason = {"cuda": "CUDA is available", "cpu": "as asked"}[device]
        assert (backend.device, backend.device_reason) == (device, reason)

    def test_auto_takes_the_cpu_where_the_gpu_is_full(self, model: Path, cuda_on_cpu: Any) -> None:
        cuda_on_cpu.raise_on_opening = [RuntimeError("CUDA failure 2: out of memory")]
        backend = open_on_device(model, SessionConfig("auto", 1))
        assert backend.device == "cpu"
        assert "the GPU has no memory for" in backend.device_reason

    def test_where_onnxruntime_has_cuda_the_cpu_is_warned_of(
        self, model: Path, cuda_on_cpu: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
        cuda_on_cpu.raise_on_opening = [RuntimeError("CUDA failure 2: out of memory")]
        open_on_device(model, SessionConfig("auto", 1))
        (record,) = caplog.records
        assert record.levelname == "WARNING"
        assert record.message.startswith("running on the CPU: the GPU has no memory for")

    def test_a_broken_file_is_no_reason_to_take_the_cpu(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        (tmp_path / "broken.onnx").write_bytes(b"hello")
        with caplog.at_level(logging.INFO), pytest.raises(BundleError, match="cannot load"):
            open_on_device(tmp_path / "broken.onnx", SessionConfig("auto", 1))
        assert caplog.text == ""

    def test_a_classifier_hands_its_options_on(self, bundle: Path, cuda_on_cpu: Any) -> None:
        with Classifier.open(bundle, device="cuda", cuda=CudaOptions(tf32=True)) as classifier:
            assert classifier.logits(BATCH).shape == (2, 3)
        assert cuda_on_cpu.requests[0].settings["use_tf32"] == "1"

    def test_a_classifier_takes_the_gpu_of_an_index(
        self, bundle: Path, cuda_on_cpu: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tried: list[int] = []
        monkeypatch.setattr(cuda_presence, "require_cuda", tried.append)
        with Classifier.open(bundle, device="cuda:1") as classifier:
            assert classifier.device == "cuda:1"
        assert (tried, cuda_on_cpu.requests[0].settings["device_id"]) == ([1], "1")

    def test_cuda_is_refused_in_a_fork_of_the_process_that_uses_it(
        self, model: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        open_on_device(model, SessionConfig("auto", 1))
        assert device_selection._process_on_cuda == os.getpid()
        open_on_device(model, SessionConfig("auto", 1))
        monkeypatch.setattr(device_selection, "_process_on_cuda", os.getpid() + 1)  # as a child finds it
        for device in ("auto", "cuda"):
            with pytest.raises(MissingCapabilityError, match="does not survive a fork"):
                open_on_device(model, SessionConfig(device, 1))  # type: ignore[arg-type]
        assert open_on_device(model, SessionConfig("cpu", 1)).device == "cpu"


def test_options_of_cuda_are_refused_on_the_cpu(bundle: Path) -> None:
    with pytest.raises(UsageError, match="`cuda` has no effect with `device='cpu'`"):
        Classifier.open(bundle, device="cpu", cuda=CudaOptions(tf32=True))
