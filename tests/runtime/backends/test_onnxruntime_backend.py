from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vgg_runtime.backends import Placement
from vgg_runtime.backends.onnxruntime_backend import OnnxRuntimeBackend, import_onnxruntime
from vgg_runtime.errors import BundleError, MissingCapabilityError

CPU = Placement("cpu", 1)
BATCH = np.random.default_rng(0).random((2, 3, 6, 8), dtype=np.float32)


@pytest.fixture
def model(tmp_path: Path, write_model: Callable[..., None]) -> Path:
    write_model(tmp_path / "model.onnx", metadata={"key": "value"})
    return tmp_path / "model.onnx"


def test_a_model_runs_on_the_cpu_as_asked(model: Path) -> None:
    backend = OnnxRuntimeBackend(model, CPU)
    assert (backend.device, backend.device_reason, backend.metadata["key"]) == ("cpu", "as asked", "value")
    np.testing.assert_allclose(backend.run(BATCH), 10 * BATCH.mean(axis=(2, 3)), rtol=1e-5)


def test_threads_are_those_of_the_placement(model: Path) -> None:
    for threads in (1, 2):
        options = OnnxRuntimeBackend(model, Placement("cpu", threads))._session.get_session_options()
        assert (options.intra_op_num_threads, options.inter_op_num_threads) == (threads, 1)


def test_backends_may_be_opened_by_several_threads_at_once(model: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        outputs = list(pool.map(lambda _: OnnxRuntimeBackend(model, CPU).run(BATCH), range(12)))
    assert all(np.array_equal(each, outputs[0]) for each in outputs)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x08\x0a"])
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken.onnx").write_bytes(content)
    with pytest.raises(BundleError, match=r"onnxruntime cannot load .*broken\.onnx"):
        OnnxRuntimeBackend(tmp_path / "broken.onnx", CPU)


def test_a_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"cannot load .*none\.onnx"):
        OnnxRuntimeBackend(tmp_path / "none.onnx", CPU)


def test_missing_weights_are_refused(tmp_path: Path, write_model: Callable[..., None]) -> None:
    write_model(tmp_path / "model.onnx", external_data="weights")
    (tmp_path / "weights").unlink()
    with pytest.raises(BundleError, match="cannot load"):
        OnnxRuntimeBackend(tmp_path / "model.onnx", CPU)


def test_weights_outside_of_the_models_folder_are_refused(tmp_path: Path, write_model: Callable[..., None]) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    write_model(inside / "model.onnx", external_data="my_weights")
    (inside / "my_weights").rename(tmp_path / "weights")
    content = (inside / "model.onnx").read_bytes()
    (inside / "model.onnx").write_bytes(content.replace(b"my_weights", b"../weights"))
    with pytest.raises(BundleError, match="cannot load"):
        OnnxRuntimeBackend(inside / "model.onnx", CPU)


@pytest.mark.parametrize("batch", [BATCH[:, :, :5], BATCH.astype(np.float64), BATCH[0]])
def test_a_batch_that_the_model_does_not_take_is_refused(model: Path, batch: Any) -> None:
    with pytest.raises(BundleError, match="cannot run the model on a batch of shape"):
        OnnxRuntimeBackend(model, CPU).run(batch)


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
