from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from vgg_calibration.compensated_rounding import compensate, compensated_weights
from vgg_calibration.statistics.input_moments import measure_input_moments
from vgg_runtime.metrics import snr_db

LEVELS = 64


def to_nearest(weights: np.ndarray) -> np.ndarray:
    scale = np.abs(weights).max(axis=-1, keepdims=True) / LEVELS
    return np.rint(weights / scale) * scale


@pytest.fixture
def edges() -> np.ndarray:
    """Depthwise 3 x 3 kernels whose weights nearly cancel, (8, 1, 9): they answer to edges, not to brightness."""
    kernels = np.random.default_rng(0).standard_normal((8, 1, 9))
    return kernels - kernels.mean(axis=2, keepdims=True)


@pytest.fixture
def bright() -> np.ndarray:
    """Patches of a bright image, (1000, 9): all positive, and much alike."""
    random = np.random.default_rng(1)
    return 5 + random.standard_normal((1000, 1)) + 0.3 * random.standard_normal((1000, 9))


def test_errors_cancel_where_inputs_share_a_sign(edges: np.ndarray, bright: np.ndarray) -> None:
    moments = np.repeat((bright.T @ bright)[np.newaxis], len(edges), axis=0)
    exact = bright @ edges[:, 0].T
    nearest = snr_db(exact, bright @ to_nearest(edges)[:, 0].T)
    compensated = snr_db(exact, bright @ compensate(edges, moments, LEVELS)[:, 0].T)
    assert compensated > nearest + 6


def test_weights_lie_on_the_levels_of_their_row(edges: np.ndarray, bright: np.ndarray) -> None:
    """A quantizer that takes the scale from the largest weight finds the same levels again."""
    moments = np.repeat((bright.T @ bright)[np.newaxis], len(edges), axis=0)
    compensated = compensate(edges, moments, LEVELS)
    np.testing.assert_allclose(to_nearest(compensated), compensated, rtol=1e-9)
    np.testing.assert_array_equal(np.abs(compensated).max(axis=2), np.abs(edges).max(axis=2))


@pytest.mark.parametrize("dead", [slice(4, 5), slice(None)], ids=["one input", "all inputs"])
def test_inputs_that_are_always_zero_are_rounded_to_nearest(edges: np.ndarray, bright: np.ndarray, dead: slice) -> None:
    bright[:, dead] = 0
    moments = np.repeat((bright.T @ bright)[np.newaxis], len(edges), axis=0)
    compensated = compensate(edges, moments, LEVELS)
    np.testing.assert_allclose(compensated[:, :, dead], to_nearest(edges)[:, :, dead], rtol=1e-9)


@pytest.mark.parametrize("transposed", [True, False])
def test_weights_keep_their_name_and_shape(linear, tmp_path: Path, transposed: bool) -> None:
    random = np.random.default_rng(0)
    weight, inputs = random.standard_normal((20, 6), np.float32), 3 + random.standard_normal((50, 20), np.float32)
    onnx.save(linear(weight, transposed=transposed), tmp_path / "model.onnx")
    moments = measure_input_moments(tmp_path / "model.onnx", [inputs])
    (rounded,) = compensated_weights(tmp_path / "model.onnx", moments, LEVELS).values()
    rounded = rounded.T if transposed else rounded
    assert rounded.dtype == np.float32
    exact = inputs @ weight
    assert snr_db(exact, inputs @ rounded) > snr_db(exact, inputs @ to_nearest(weight.T).T) + 6


def test_a_convolution_is_rounded_by_its_own_groups(make_model, run, tmp_path: Path, edges: np.ndarray) -> None:
    weight = edges.reshape(8, 1, 3, 3).astype(np.float32)
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="conv", kernel_shape=[3, 3], group=8)
    images = 5 + np.random.default_rng(2).standard_normal((4, 8, 12, 12), np.float32) * 0.3
    exact = make_model([node], {"w": weight}, ["batch", 8, 12, 12])
    onnx.save(exact, tmp_path / "model.onnx")
    rounded = compensated_weights(
        tmp_path / "model.onnx", measure_input_moments(tmp_path / "model.onnx", [images]), LEVELS
    )
    nearest = to_nearest(edges).reshape(weight.shape).astype(np.float32)
    outputs = [run(make_model([node], {"w": w}, ["batch", 8, 12, 12]), images) for w in (nearest, rounded["w"])]
    assert snr_db(run(exact, images), outputs[1]) > snr_db(run(exact, images), outputs[0]) + 6
