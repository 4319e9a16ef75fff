"""What every backend of the runtime must do: one set of cases for all of :data:`BACKENDS`."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vgg_runtime.backends.base import Backend, SessionConfig
from vgg_runtime.backends.registry import BACKENDS, open_backend
from vgg_runtime.errors import MissingCapabilityError, RefusedInputError

BATCH = np.random.default_rng(0).random((2, 3, 6, 8), dtype=np.float32)

OpenModel = Callable[[Path], Backend]


@pytest.fixture(params=BACKENDS)
def open_model(request: pytest.FixtureRequest) -> OpenModel:
    return lambda model: open_backend(request.param, model, SessionConfig("cpu", 2))


def check(backend: Backend, batch: np.ndarray) -> None:
    """Compare with what the network of ``write_model`` does."""
    np.testing.assert_allclose(backend.run(batch), 10 * batch.mean(axis=(2, 3)), rtol=1e-5)


def test_an_unknown_backend_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(MissingCapabilityError, match=r"unknown backend 'none'\.\s*Available: onnxruntime, openvino"):
        open_backend("none", tmp_path / "model.onnx", SessionConfig("cpu", 1))


def test_a_model_runs_on_the_cpu_as_asked(open_model: OpenModel, model: Path) -> None:
    backend = open_model(model)
    assert (backend.device, backend.device_reason, backend.metadata["key"]) == ("cpu", "as asked", "value")
    check(backend, BATCH)


def test_weights_beside_the_model_are_found(
    open_model: OpenModel, tmp_path: Path, write_model: Callable[..., None]
) -> None:
    write_model(tmp_path / "model.onnx", external_data="weights")
    check(open_model(tmp_path / "model.onnx"), BATCH)


def test_a_batch_that_may_not_be_written_to_is_read(open_model: OpenModel, model: Path) -> None:
    batch = BATCH[:1].copy()
    batch.flags.writeable = False
    check(open_model(model), batch)


def test_the_batch_may_change_and_earlier_answers_stay(open_model: OpenModel, model: Path) -> None:
    backend = open_model(model)
    batches = [np.random.default_rng(size).random((size, 3, 6, 8), dtype=np.float32) for size in (1, 5, 2, 5)]
    answers = [backend.run(batch) for batch in batches]
    for batch, answer in zip(batches, answers, strict=True):
        np.testing.assert_allclose(answer, 10 * batch.mean(axis=(2, 3)), rtol=1e-5)


def test_one_model_serves_many_threads(open_model: OpenModel, model: Path) -> None:
    backend = open_model(model)
    batches = [np.random.default_rng(i).random((1 + i % 3, 3, 6, 8), dtype=np.float32) for i in range(300)]
    expected = [backend.run(batch) for batch in batches]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(backend.run, batches))
    assert all(np.array_equal(answer, wanted) for answer, wanted in zip(answers, expected, strict=True))


def test_models_may_be_opened_by_several_threads_at_once(open_model: OpenModel, model: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        outputs = list(pool.map(lambda _: open_model(model).run(BATCH), range(12)))
    assert all(np.array_equal(each, outputs[0]) for each in outputs)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x08\x0a"])
def test_a_file_that_is_no_model_is_refused(
    open_model: OpenModel, tmp_path: Path, content: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.onnx").write_bytes(content)
    with pytest.raises(RefusedInputError, match=r"(cannot load|finds 0 inputs).*broken\.onnx"):
        open_model(tmp_path / "broken.onnx")
    assert capfd.readouterr() == ("", "")


def test_a_file_that_is_missing_is_refused(open_model: OpenModel, tmp_path: Path) -> None:
    with pytest.raises(RefusedInputError, match=r"cannot load .*none\.onnx"):
        open_model(tmp_path / "none.onnx")


def test_missing_weights_are_refused(open_model: OpenModel, tmp_path: Path, write_model: Callable[..., None]) -> None:
    write_model(tmp_path / "model.onnx", external_data="weights")
    (tmp_path / "weights").unlink()
    with pytest.raises(RefusedInputError, match="cannot load"):
        open_model(tmp_path / "model.onnx")


def test_weights_outside_of_the_models_folder_are_refused(
    open_model: OpenModel, tmp_path: Path, write_model: Callable[..., None]
) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    write_model(inside / "model.onnx", external_data="my_weights")
    (inside / "my_weights").rename(tmp_path / "weights")
    content = (inside / "model.onnx").read_bytes()
    (inside / "model.onnx").write_bytes(content.replace(b"my_weights", b"../weights"))
    with pytest.raises(RefusedInputError, match=r"cannot load|outside"):
        open_model(inside / "model.onnx")


@pytest.mark.parametrize("batch", [BATCH[:, :, :5], BATCH.astype(np.float64), BATCH[0]])
def test_wrong_batch_is_refused_and_the_next_works(open_model: OpenModel, model: Path, batch: Any) -> None:
    backend = open_model(model)
    with pytest.raises(RefusedInputError, match="cannot run the model on a batch of"):
        backend.run(batch)
    check(backend, BATCH)
