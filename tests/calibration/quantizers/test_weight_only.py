from __future__ import annotations

from functools import partial

import ml_dtypes
import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vgg_calibration.quantizers.base import QuantizationContext
from vgg_calibration.quantizers.weight_only import pack_blockwise, quantize_linear_weights_blockwise

RANDOM = np.random.default_rng(0)
BOTH = pytest.mark.parametrize("bits", [4, 8])


def unpacked(levels: np.ndarray, scales: np.ndarray, bits: int, rows: int) -> np.ndarray:
    """The weight (in features, out features) that MatMulNBits is documented to compute with."""
    if bits == 4:
        levels = np.stack([levels & 15, levels >> 4], axis=-1).reshape(*levels.shape[:2], -1)
    values = (levels.astype(np.float64) - 2 ** (bits - 1)) * scales[:, :, np.newaxis]
    return values.reshape(len(levels), -1)[:, :rows].T


def whole_weights(bits: int, rows: int, columns: int, block_size: int) -> np.ndarray:
    """Weights that hold in ``bits`` bits: in every block all levels fit, and the most negative one occurs."""
    max_level = 2 ** (bits - 1)
    weight = RANDOM.integers(-max_level, max_level, (rows, columns)).astype(np.float32)
    weight[::block_size] = -max_level
    return weight * 2.0 ** np.arange(-2, columns - 2, dtype=np.float32)


@BOTH
@given(
    weight=arrays(np.float32, st.tuples(st.integers(1, 70), st.integers(1, 4)), elements=st.floats(-1e3, 1e3, width=32))
)
def test_weight_is_off_by_half_a_step_or_one_at_the_end(bits, weight: np.ndarray) -> None:
    levels, scales = pack_blockwise(weight, bits, 16)
    rows, columns = weight.shape
    blocks = -(-rows // 16)
    assert levels.shape == (columns, blocks, 16 * bits // 8)
    assert levels.dtype == np.uint8
    assert scales.shape == (columns, blocks)
    np.testing.assert_array_equal(scales.astype(ml_dtypes.bfloat16).astype(np.float32), scales)
    step = np.repeat(np.abs(scales), 16, axis=1)[:, :rows].T.astype(np.float64)
    peak = np.zeros((columns, blocks * 16))
    peak[:, :rows] = np.abs(weight.T)
    peak = np.repeat(peak.reshape(columns, blocks, 16).max(axis=2), 16, axis=1)[:, :rows].T
    # bfloat16 rounds the scale by up to 1/256 of itself, and the scale is peak / 2^(bits-1).
    bound = np.where(np.abs(weight) > peak * (1 - 1.5 / 2 ** (bits - 1)), 1.01 * step + peak / 256, step / 2)
    error = np.abs(unpacked(levels, scales, bits, rows) - weight)
    assert (error <= bound * (1 + 1e-6) + 1e-38).all()


@BOTH
@pytest.mark.parametrize(
    ("form", "transposed", "biased"), [("Gemm", True, True), ("Gemm", False, False), ("MatMul", False, False)]
)
@pytest.mark.parametrize("rows", [16, 32, 40, 5])
def test_what_the_bits_hold_is_computed_exactly(
    linear, run, bits, form: str, transposed: bool, biased: bool, rows: int
) -> None:
    """Whole numbers up to 127 with that one in every block: the engine's own 8 bits for the input hold them too."""
    weight = whole_weights(bits, rows, 6, 16)
    bias = np.float32([1, -2, 3, 4, 5, 6]) if biased else None
    x = RANDOM.integers(-127, 128, (3, rows)).astype(np.float32)
    x[:, ::16] = 127
    model = linear(weight, bias, form=form, transposed=transposed)
    assert quantize_linear_weights_blockwise(model, QuantizationContext(), bits=bits, block_size=16) == ["fc"]
    expected = x @ weight + (0 if bias is None else bias)
    np.testing.assert_allclose(run(model, x), expected, rtol=1e-6, atol=1e-3)


@BOTH
@pytest.mark.parametrize("block_size", [16, 32, 128, 256])
@pytest.mark.parametrize("rows", [64, 200, 300])
def test_the_engine_computes_with_the_packed_weights(linear, run, bits, block_size: int, rows: int) -> None:
    """Whatever the block, and where it does not divide the width: what differs is the input's own 8 bits."""
    weight = RANDOM.standard_normal((rows, 6)).astype(np.float32)
    x = RANDOM.standard_normal((4, rows)).astype(np.float32)
    expected = x.astype(np.float64) @ unpacked(*pack_blockwise(weight, bits, block_size), bits, rows)
    model = linear(weight)
    quantize_linear_weights_blockwise(model, QuantizationContext(), bits=bits, block_size=block_size)
    step = np.abs(x).max() / 127
    error = np.abs(run(model, x) - expected)
    assert (error <= step / 2 * np.abs(weight).sum(axis=0) * 1.2).all()
    assert (error <= 6 * step * np.sqrt(rows / 12)).all()  # six standard deviations of that many roundings


@BOTH
def test_files_shrink_to_bits_and_two_byte_scales(linear, constants, bits) -> None:
    model = linear(RANDOM.standard_normal((256, 10)).astype(np.float32))
    quantize_linear_weights_blockwise(model, QuantizationContext(), bits=bits, block_size=32)
    assert sum(value.nbytes for value in constants(model).values()) == 2560 * bits // 8 + 2 * 80


@BOTH
def test_nothing_but_the_linear_layers_changes(
    network: onnx.ModelProto, images: np.ndarray, run, constants, bits
) -> None:
    before, inside, outside = constants(network), run(network, images, "e"), run(network, images)
    quantize = partial(quantize_linear_weights_blockwise, bits=bits, block_size=16)
    assert quantize(network, QuantizationContext()) == ["fc1", "fc2"]
    for name in ("conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias", "fc1.bias"):
        np.testing.assert_array_equal(constants(network)[name], before[name])
    np.testing.assert_array_equal(run(network, images, "e"), inside)
    noise = run(network, images) - outside
    assert 0 < np.sqrt((noise**2).mean() / (outside**2).mean()) < (0.2 if bits == 4 else 0.02)
    assert {entry.domain for entry in network.opset_import} == {"", "com.microsoft"}


def test_a_layer_in_float_stays_as_it_is(network: onnx.ModelProto, images: np.ndarray, run) -> None:
    inside = run(network, images, "g")
    context = QuantizationContext(in_float=frozenset({"fc1"}))
    assert quantize_linear_weights_blockwise(network, context, bits=4, block_size=16) == ["fc2"]
    np.testing.assert_array_equal(run(network, images, "g"), inside)


def test_a_network_without_linear_layers_is_unchanged(make_model) -> None:
    model = make_model([onnx.helper.make_node("Relu", ["x"], ["y"])], {}, [1, 2])
    before = model.SerializeToString()
    assert quantize_linear_weights_blockwise(model, QuantizationContext(), bits=4, block_size=32) == []
    assert model.SerializeToString() == before


@BOTH
def test_zeros_stay_zeros(linear, run, bits) -> None:
    model = linear(np.zeros((20, 3), np.float32), np.float32([1, 2, 3]))
    quantize_linear_weights_blockwise(model, QuantizationContext(), bits=bits, block_size=16)
    np.testing.assert_array_equal(run(model, np.ones((1, 20), np.float32)), [[1, 2, 3]])
