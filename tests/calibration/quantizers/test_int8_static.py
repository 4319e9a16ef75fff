from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import helper

from vgg_calibration.quantizers.base import QuantizationContext
from vgg_calibration.quantizers.int8_static import quantize_static_int8
from vgg_calibration.ranges.methods import Range
from vgg_calibration.targets import TARGETS

RANDOM = np.random.default_rng(0)
ALL = ("conv1", "conv2", "fc1", "fc2")


@pytest.fixture
def calibrated(network: onnx.ModelProto, images: np.ndarray, run) -> Callable[..., QuantizationContext]:
    """Make a context with the ranges that the network's activations have on the images."""
    ranges = {"x": Range(float(images.min()), float(images.max()))}
    for name in "abcdefghy":
        values = run(network, images, name)
        ranges[name] = Range(min(0.0, float(values.min())), max(0.0, float(values.max())))

    def make(target: str = "vnni", in_float: tuple[str, ...] = ()) -> QuantizationContext:
        return QuantizationContext(TARGETS[target], ranges, frozenset(in_float))

    return make


def quantized_weights(model: onnx.ModelProto, constants) -> dict[str, np.ndarray]:
    """The int8 weights of the layers, by the name of the weight."""
    suffix = "_quantized"
    return {
        name.removesuffix(suffix): value
        for name, value in constants(model).items()
        if name.endswith(f"weight{suffix}") and value.dtype == np.int8
    }


def snr_db(outputs: np.ndarray, expected: np.ndarray) -> float:
    return float(10 * np.log10((expected**2).sum() / ((outputs - expected) ** 2).sum()))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("transposed", [True, False])
@pytest.mark.parametrize("low", [0, -100])
def test_what_8_bits_hold_is_computed_exactly(linear, run, target: str, transposed: bool, low: int) -> None:
    """Whole numbers with a step of 1 for the input, and of a power of two for each output's weights."""
    max_level = 64 if TARGETS[target].reduce_range else 127
    weight = RANDOM.integers(1 - max_level, max_level, (20, 5)).astype(np.float32)
    weight[0] = -max_level
    weight *= 2.0 ** np.arange(-2, 3, dtype=np.float32)
    bias = np.float32([1, -2, 3, 4, 1000])
    x = RANDOM.integers(low, low + 256, (4, 20)).astype(np.float32)
    model = linear(weight, bias, transposed=transposed)
    context = QuantizationContext(TARGETS[target], {"x": Range(low, low + 255), "y": Range(-1e6, 1e6)})
    assert quantize_static_int8(model, context) == ["fc"]
    np.testing.assert_allclose(run(model, x), x @ weight + bias, rtol=1e-6)


def test_what_lies_outside_the_range_is_clipped(linear, run) -> None:
    model = linear(np.float32([[127]]), np.float32([0]))
    quantize_static_int8(model, QuantizationContext(TARGETS["vnni"], {"x": Range(0, 255), "y": Range(0, 1e5)}))
    outputs = run(model, np.float32([[-50], [0], [255], [256], [1e6]])).ravel()
    np.testing.assert_allclose(outputs, np.float32([0, 0, 255, 255, 255]) * 127, rtol=1e-6)


def test_a_convolutions_output_takes_the_steps_of_its_range(make_model, run) -> None:
    node = helper.make_node("Conv", ["x", "weight"], ["y"], name="conv")
    model = make_model([node], {"weight": np.full((1, 1, 1, 1), 127, np.float32)}, [1, 1, 1, "width"])
    quantize_static_int8(model, QuantizationContext(TARGETS["vnni"], {"x": Range(0, 255), "y": Range(0, 255 * 256)}))
    x = np.arange(256, dtype=np.float32).reshape(1, 1, 1, 256)
    error = np.abs(run(model, x) - 127 * x)
    assert error.max() <= 128  # half a step
    assert error.max() > 100


def test_the_whole_network_loses_little(network: onnx.ModelProto, images: np.ndarray, run, calibrated) -> None:
    expected = run(network, images)
    assert quantize_static_int8(network, calibrated()) == list(ALL)
    outputs = run(network, images)
    assert outputs.dtype == np.float32
    assert 25 < snr_db(outputs, expected) < 60
    assert ("origin", "a test") in {(entry.key, entry.value) for entry in network.metadata_props}


def test_a_range_that_is_wrong_costs_what_it_should(
    network: onnx.ModelProto, images: np.ndarray, run, calibrated
) -> None:
    expected, context = run(network, images), calibrated()
    narrow = {name: Range(span.low / 10, span.high / 10) for name, span in context.ranges.items()}
    quantize_static_int8(network, QuantizationContext(context.target, narrow))
    assert snr_db(run(network, images), expected) < 10


@pytest.mark.parametrize("target", TARGETS)
def test_weights_are_int8_per_channel_in_the_targets_range(
    network: onnx.ModelProto, constants, calibrated, target: str
) -> None:
    quantize_static_int8(network, calibrated(target))
    weights = quantized_weights(network, constants)
    assert set(weights) == {f"{name}.weight" for name in ALL}
    max_level = 64 if TARGETS[target].reduce_range else 127
    for name, weight in weights.items():
        axis = 1 if name.startswith("fc2") else 0  # fc1 is a Gemm with transB, fc2 a MatMul
        others = tuple(i for i in range(weight.ndim) if i != axis)
        peaks = np.abs(weight.astype(int)).max(axis=others)
        assert (peaks <= max_level).all(), name
        assert (peaks >= max_level - 1).all(), name  # every channel uses all of it


@pytest.mark.parametrize("float_layers", [("conv1",), ("fc1", "fc2"), ("conv2", "fc2"), ALL])
def test_layers_in_float_keep_their_weights(
    network: onnx.ModelProto, images: np.ndarray, run, constants, calibrated, float_layers: tuple[str, ...]
) -> None:
    before, expected = constants(network), run(network, images)
    names = quantize_static_int8(network, calibrated(in_float=float_layers))
    assert names == [name for name in ALL if name not in float_layers]
    assert set(quantized_weights(network, constants)) == {f"{name}.weight" for name in names}
    for name in float_layers:
        np.testing.assert_array_equal(constants(network)[f"{name}.weight"], before[f"{name}.weight"])
    outputs = run(network, images)
    if names:
        assert snr_db(outputs, expected) > 25
    else:
        np.testing.assert_array_equal(outputs, expected)


def test_only_the_layer_types_asked_for(
    network: onnx.ModelProto, images: np.ndarray, run, constants, calibrated
) -> None:
    before, expected = constants(network), run(network, images)
    assert quantize_static_int8(network, calibrated(), layer_types=("Conv",)) == ["conv1", "conv2"]
    for name in ("fc1.weight", "fc1.bias", "fc2.weight"):
        np.testing.assert_array_equal(constants(network)[name], before[name])
    assert snr_db(run(network, images), expected) > 25


def test_shapes_that_are_computed_stay_integers(make_model, run, caplog: pytest.LogCaptureFixture) -> None:
    """As PyTorch exports ``x.reshape(x.shape[0] * 2, -1)``: passed on like activations, but by integers."""
    nodes = [
        helper.make_node("Shape", ["x"], ["sizes"], name="shape", end=1),
        helper.make_node("Add", ["sizes", "sizes"], ["rows"], name="twice"),
        helper.make_node("Concat", ["rows", "rest"], ["new_shape"], name="concat", axis=0),
        helper.make_node("Reshape", ["x", "new_shape"], ["halves"], name="reshape"),
        helper.make_node("MatMul", ["halves", "weight"], ["y"], name="fc"),
    ]
    model = make_model(nodes, {"rest": np.int64([-1]), "weight": np.full((2, 1), 127, np.float32)}, ["batch", 4])
    ranges = {"x": Range(0, 255), "halves": Range(0, 255), "y": Range(0, 1e5)}
    assert quantize_static_int8(model, QuantizationContext(TARGETS["vnni"], ranges)) == ["fc"]
    x = RANDOM.integers(0, 256, (3, 4)).astype(np.float32)
    np.testing.assert_allclose(run(model, x).ravel(), 127 * x.reshape(6, 2).sum(axis=1), rtol=1e-6)
    assert caplog.messages == []


def test_an_activation_that_was_zero_on_every_image(linear, run) -> None:
    model = linear(np.float32([[127, 0], [0, 127]]), np.float32([5, 6]))
    quantize_static_int8(model, QuantizationContext(TARGETS["vnni"], {"x": Range(0, 0), "y": Range(0, 10)}))
    np.testing.assert_allclose(run(model, np.zeros((1, 2), np.float32)), [[5, 6]], rtol=0.02)


def test_no_operator_is_lost_on_the_way(network: onnx.ModelProto, calibrated) -> None:
    before = [node.name for node in network.graph.node]
    quantize_static_int8(network, calibrated())
    after = {node.name for node in network.graph.node}
    # A ReLU is what its output's range, which begins at zero, already does.
    assert {name for name in before if name not in after} <= {"relu1", "relu2", "relu3"}
    added = {node.op_type for node in network.graph.node if node.name not in before}
    assert added == {"QuantizeLinear", "DequantizeLinear"}
