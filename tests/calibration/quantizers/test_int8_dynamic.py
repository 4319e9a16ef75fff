from __future__ import annotations

import numpy as np
import onnx
import pytest

from vgg_calibration.quantizers.base import QuantizationContext
from vgg_calibration.quantizers.int8_dynamic import quantize_linear_dynamic
from vgg_calibration.targets import ANY_CPU, TARGETS

FORMS = {
    "Gemm": {"form": "Gemm"},
    "transposed Gemm": {"form": "Gemm", "transposed": True},
    "MatMul": {"form": "MatMul"},
}
RANDOM = np.random.default_rng(0)


def with_bias(form: str) -> list[bool]:
    return [False] if form == "MatMul" else [False, True]


CASES = [(form, bias) for form in FORMS for bias in with_bias(form)]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("form", "biased"), CASES)
def test_what_8_bits_hold_is_computed_exactly(linear, run, form: str, biased: bool, target: str) -> None:
    """Whole numbers, with a step of 1 for the input and of a power of two for each output's weights."""
    max_level = 63 if TARGETS[target].reduce_range else 127
    weight = RANDOM.integers(-max_level, max_level + 1, (20, 5)).astype(np.float32)
    weight[3] = [max_level, -max_level, max_level, max_level, -max_level]
    weight *= 2.0 ** np.arange(-2, 3, dtype=np.float32)
    bias = np.float32([1, -2, 3, 0.5, 1000]) if biased else None
    x = RANDOM.integers(-100, 156, (4, 20)).astype(np.float32)
    x[:, :2] = [-100, 155]
    model = linear(weight, bias, **FORMS[form])
    assert quantize_linear_dynamic(model, QuantizationContext(TARGETS[target])) == ["fc"]
    for row in x:  # the input's step is taken over the whole batch
        np.testing.assert_array_equal(run(model, row[np.newaxis])[0], row @ weight + (0 if bias is None else bias))


@pytest.mark.parametrize(("form", "biased"), CASES)
def test_rounding_is_all_that_is_lost(linear, run, form: str, biased: bool) -> None:
    weight = RANDOM.standard_normal((200, 7)).astype(np.float32) * np.logspace(-3, 3, 7, dtype=np.float32)
    bias = RANDOM.standard_normal(7).astype(np.float32) if biased else None
    x = RANDOM.standard_normal((3, 200)).astype(np.float32)
    model = linear(weight, bias, **FORMS[form])
    expected = run(model, x)
    quantize_linear_dynamic(model, QuantizationContext(TARGETS["vnni"]))
    x_step, w_step = (x.max() - x.min()) / 255, np.abs(weight).max(axis=0) / 127
    bound = x_step * np.abs(weight).sum(axis=0) + np.abs(x).sum(axis=1, keepdims=True) * w_step / 2
    bound = bound + 200 * x_step * w_step / 2
    error = np.abs(run(model, x) - expected)
    assert (error <= bound).all()
    # Errors of many roundings add up as their root: a bound of this kind is never nearly reached.
    assert (error <= 0.2 * bound).all()


@pytest.mark.parametrize("target", TARGETS)
def test_weights_are_int8_in_the_range_of_the_target(network: onnx.ModelProto, constants, target: str) -> None:
    quantize_linear_dynamic(network, QuantizationContext(TARGETS[target]))
    max_level = 63 if TARGETS[target].reduce_range else 127
    for name, width in (("fc1", 24), ("fc2", 6)):
        weight = constants(network)[f"{name}_weight_int8"]
        assert weight.dtype == np.int8
        assert weight.shape[1] == width
        assert (np.abs(weight.astype(int)).max(axis=0) == max_level).all()  # every output uses all of it


def test_unknown_cpu_gets_weights_that_saturate_nowhere() -> None:
    """Two products of uint8 and int7 fit into 16 bits; of uint8 and int8 they do not."""
    assert TARGETS[ANY_CPU].reduce_range
    assert 2 * 255 * 63 < 2**15 < 2 * 255 * 127


def test_an_output_whose_weights_are_all_zero(linear, run) -> None:
    weight = np.zeros((4, 2), np.float32)
    weight[:, 1] = 127
    model = linear(weight, np.float32([7, 0]))
    quantize_linear_dynamic(model, QuantizationContext(TARGETS["vnni"]))
    np.testing.assert_allclose(run(model, np.float32([[0, 255, 1, 2]])), [[7, 127 * 258]], rtol=1e-6)


def test_nothing_but_the_linear_layers_changes(network: onnx.ModelProto, images: np.ndarray, run, constants) -> None:
    before, nodes = constants(network), {node.name: node.SerializeToString() for node in network.graph.node}
    inside = run(network, images, "e")
    assert quantize_linear_dynamic(network, QuantizationContext()) == ["fc1", "fc2"]
    after = {node.name: node.SerializeToString() for node in network.graph.node}
    assert all(after[name] == nodes[name] for name in nodes if not name.startswith("fc"))
    for name in ("conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias", "fc1.bias"):
        np.testing.assert_array_equal(constants(network)[name], before[name])
    assert not {"fc1.weight", "fc2.weight"} & constants(network).keys()
    np.testing.assert_array_equal(run(network, images, "e"), inside)


def test_a_layer_in_float_stays_as_it_is(network: onnx.ModelProto, images: np.ndarray, run, constants) -> None:
    weight, inside = constants(network)["fc1.weight"], run(network, images, "g")
    assert quantize_linear_dynamic(network, QuantizationContext(in_float=frozenset({"fc1"}))) == ["fc2"]
    np.testing.assert_array_equal(constants(network)["fc1.weight"], weight)
    np.testing.assert_array_equal(run(network, images, "g"), inside)


def test_a_network_without_linear_layers_is_unchanged(make_model) -> None:
    model = make_model([onnx.helper.make_node("Relu", ["x"], ["y"])], {}, [1, 2])
    before = model.SerializeToString()
    assert quantize_linear_dynamic(model, QuantizationContext()) == []
    assert model.SerializeToString() == before
