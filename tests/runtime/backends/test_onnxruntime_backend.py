from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from vgg_runtime.backends.base import SessionConfig
from vgg_runtime.backends.onnxruntime_cpu import OnnxRuntimeBackend, import_onnxruntime
from vgg_runtime.errors import BundleError, MissingCapabilityError

CPU = SessionConfig("cpu", 1)
BATCH = np.random.default_rng(0).random((2, 3, 6, 8), dtype=np.float32)


def test_threads_are_those_of_the_placement(model: Path) -> None:
    for threads in (1, 2):
        options = OnnxRuntimeBackend(model, SessionConfig("cpu", threads))._session.get_session_options()
        assert (options.intra_op_num_threads, options.inter_op_num_threads) == (threads, 1)


class TestWhichWheelIsInstalled:
    @pytest.fixture
    def install(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., None]]:
        """Let the records of the named distributions be all that is found; what was imported before stays."""
        import_onnxruntime()

        def pretend(*names: str) -> None:
            for name in names:
                (tmp_path / "site-packages" / f"{name.replace('-', '_')}-1.0.dist-info").mkdir(parents=True)
            monkeypatch.setattr(sys, "path", [str(tmp_path / "no folder"), str(tmp_path / "site-packages")])
            import_onnxruntime.cache_clear()

        yield pretend
        import_onnxruntime.cache_clear()

    def test_both_are_refused(self, install: Callable[..., None], model: Path) -> None:
        install("onnxruntime", "onnxruntime-gpu")
        with pytest.raises(MissingCapabilityError, match="are both installed") as error:
            OnnxRuntimeBackend(model, CPU)
        assert "pip uninstall" in error.value.hint

    def test_one_that_shadows_the_other_is_the_one(
        self, install: Callable[..., None], model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        install("onnxruntime")
        (tmp_path / "system" / "onnxruntime_gpu-1.0.dist-info").mkdir(parents=True)
        monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "system")])
        assert OnnxRuntimeBackend(model, CPU).device == "cpu"

    def test_a_folder_that_cannot_be_listed_is_passed_over(
        self, install: Callable[..., None], model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        install("onnxruntime", "onnxruntime-gpu")
        listed = os.listdir

        def deny(path: str) -> list[str]:  # tests may run as a user who may list anything
            if path == str(tmp_path / "no folder"):
                raise PermissionError(13, "Permission denied", path)
            return listed(path)

        monkeypatch.setattr(os, "listdir", deny)
        with pytest.raises(MissingCapabilityError, match="are both installed"):
            OnnxRuntimeBackend(model, CPU)

    def test_none_says_which_extra_to_install(
        self, install: Callable[..., None], model: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        install()
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
        with pytest.raises(MissingCapabilityError, match="onnxruntime is not installed") as error:
            OnnxRuntimeBackend(model, CPU)
        assert "vgg-deploy[cpu]" in error.value.hint

    def test_a_broken_one_is_told_from_none(
        self, install: Callable[..., None], model: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        install("onnxruntime-gpu")
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
        with pytest.raises(MissingCapabilityError, match="onnxruntime cannot be imported"):
            OnnxRuntimeBackend(model, CPU)

    @pytest.mark.parametrize("name", ["onnxruntime", "onnxruntime-gpu"])
    def test_one_is_taken(self, install: Callable[..., None], model: Path, name: str) -> None:
        install(name)
        assert OnnxRuntimeBackend(model, CPU).device == "cpu"


def test_telemetry_is_off() -> None:
    import_onnxruntime()
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"


def test_file_in_the_own_format_of_onnxruntime_is_refused(model: Path, tmp_path: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "model.ort")
    options.add_session_config_entry("session.save_model_format", "ORT")
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    assert (tmp_path / "model.ort").read_bytes()[4:8] == b"ORTM"
    with pytest.raises(BundleError, match="onnxruntime cannot load"):
        OnnxRuntimeBackend(tmp_path / "model.ort", CPU)
