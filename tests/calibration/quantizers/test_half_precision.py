"""float16 and conv_weights_fp16."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from vgg_calibration.quantizers.base import QuantizationContext
from vgg_calibration.quantizers.fp16 import conv_weights_fp16, float16

LAYERS = ["conv1", "conv2", "fc1", "fc2"]


def relative_error(outputs: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(outputs - expected).max() / np.abs(expected).max())


class TestFloat16:
    def test_the_network_computes_in_half_precision(
        self, network: onnx.ModelProto, images: np.ndarray, run, constants
    ) -> None:
        expected = run(network, images)
        assert set(LAYERS) <= set(float16(network, QuantizationContext()))
        assert {value.dtype for value in constants(network).values()} == {np.dtype(np.float16)}
        outputs = run(network, images)
        assert outputs.dtype == np.float32
        assert 0 < relative_error(outputs, expected) < 0.01
        assert network.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
        assert {entry.key: entry.value for entry in network.metadata_props} == {"origin": "a test"}

    def test_weights_are_rounded_to_nearest(self, network: onnx.ModelProto, constants) -> None:
        before = constants(network)
        float16(network, QuantizationContext())
        for name, value in constants(network).items():
            np.testing.assert_array_equal(value, before[name].astype(np.float16))

    def test_a_layer_in_float_stays_as_it_is(self, network: onnx.ModelProto, constants) -> None:
        before = constants(network)
        changed = float16(network, QuantizationContext(in_float=frozenset({"conv1", "fc2"})))
        assert set(LAYERS) & set(changed) == {"conv2", "fc1"}
        for name in ("conv1.weight", "conv1.bias", "fc2.weight"):
            np.testing.assert_array_equal(constants(network)[name], before[name])
            assert constants(network)[name].dtype == np.float32


class TestConvWeights:
    def test_fp16_rounds_convolution_weights_alone(
        self, network: onnx.ModelProto, images: np.ndarray, run, constants
    ) -> None:
        before = constants(network)
        rounded = onnx.ModelProto()
        rounded.CopyFrom(network)
        for tensor in rounded.graph.initializer:
            if tensor.name in ("conv1.weight", "conv2.weight"):
                value = before[tensor.name].astype(np.float16).astype(np.float32)
                tensor.CopyFrom(onnx.numpy_helper.from_array(value, tensor.name))
        assert conv_weights_fp16(network, QuantizationContext()) == ["conv1", "conv2"]
        np.testing.assert_array_equal(run(network, images), run(rounded, images))
        dtypes = {name: value.dtype for name, value in constants(network).items()}
        assert dtypes.pop("conv1.weight_fp16") == dtypes.pop("conv2.weight_fp16") == np.float16
        assert dtypes == {name: np.float32 for name in before if name not in ("conv1.weight", "conv2.weight")}

    def test_a_layer_in_float_stays_as_it_is(self, network: onnx.ModelProto, constants) -> None:
        before = constants(network)
        assert conv_weights_fp16(network, QuantizationContext(in_float=frozenset({"conv1"}))) == ["conv2"]
        np.testing.assert_array_equal(constants(network)["conv1.weight"], before["conv1.weight"])

    @pytest.mark.parametrize("weight", [65504, 65519, 70000])
    def test_a_weight_beyond_float16_stays_in_float32(self, make_model, run, constants, weight: int) -> None:
        kernel = np.full((1, 1, 1, 1), weight, np.float32)
        model = make_model(
            [helper.make_node("Conv", ["x", "weight"], ["y"], name="conv")], {"weight": kernel}, [1, 1, 1, 1]
        )
        fits = weight < 65520  # what rounds to the greatest float16, 65504
        assert conv_weights_fp16(model, QuantizationContext()) == (["conv"] if fits else [])
        outputs = run(model, np.ones((1, 1, 1, 1), np.float32)).item()
        assert outputs == (65504 if fits else weight)
        assert list(constants(model)) == (["weight_fp16"] if fits else ["weight"])

    def test_a_weight_that_two_convolutions_share(self, make_model, run) -> None:
        nodes = [
            helper.make_node("Conv", ["x", "weight"], ["a"], name="first"),
            helper.make_node("Conv", ["a", "weight"], ["y"], name="second"),
        ]
        model = make_model(nodes, {"weight": np.full((1, 1, 1, 1), 3, np.float32)}, [1, 1, 1, 1])
        assert conv_weights_fp16(model, QuantizationContext()) == ["first", "second"]
        assert run(model, np.full((1, 1, 1, 1), 2, np.float32)).item() == 18
