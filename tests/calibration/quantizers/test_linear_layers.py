from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from vgg_calibration.quantizers.base import QuantizationContext
from vgg_calibration.quantizers.linear_layers import find_linear_layers, replace_nodes

WEIGHT = np.arange(6, dtype=np.float32).reshape(3, 2)


@pytest.mark.parametrize("form", ["Gemm", "transposed", "MatMul"])
def test_the_weight_is_found_in_every_form(linear, form: str) -> None:
    model = linear(WEIGHT, form="MatMul") if form == "MatMul" else linear(WEIGHT, transposed=form == "transposed")
    (layer,) = find_linear_layers(model, QuantizationContext())
    np.testing.assert_array_equal(layer.weight, WEIGHT)
    assert (layer.node.name, layer.input, layer.output, layer.bias) == ("fc", "x", "y", None)


def test_the_bias_is_named(linear) -> None:
    (layer,) = find_linear_layers(linear(WEIGHT, np.ones(2, np.float32)), QuantizationContext())
    assert layer.bias == "fc.bias"
    (added,) = layer.with_bias("product")
    assert (added.op_type, list(added.input), list(added.output)) == ("Add", ["product", "fc.bias"], ["y"])


def test_a_bias_that_is_left_out_is_none(make_model) -> None:
    node = helper.make_node("Gemm", ["x", "weight", ""], ["y"], name="fc")
    (layer,) = find_linear_layers(make_model([node], {"weight": WEIGHT}, ["batch", 3]), QuantizationContext())
    assert layer.bias is None
    assert layer.with_bias("product")[0].op_type == "Identity"


@pytest.mark.parametrize("attributes", [{"alpha": 0.5}, {"beta": 2.0}, {"transA": 1}], ids=str)
def test_a_scaled_or_turned_gemm_is_left_alone(make_model, attributes) -> None:
    node = helper.make_node("Gemm", ["x", "weight"], ["y"], name="fc", **attributes)
    assert not find_linear_layers(make_model([node], {"weight": WEIGHT}, [3, 3]), QuantizationContext())


def test_matmul_of_activations_or_stacks_is_left_alone(make_model) -> None:
    square = make_model([helper.make_node("MatMul", ["x", "x"], ["y"], name="square")], {}, [3, 3])
    stack = make_model(
        [helper.make_node("MatMul", ["x", "weight"], ["y"], name="stack")], {"weight": WEIGHT[np.newaxis]}, [2, 3]
    )
    assert not find_linear_layers(square, QuantizationContext())
    assert not find_linear_layers(stack, QuantizationContext())


def test_what_stays_in_float_is_left_alone(network: onnx.ModelProto) -> None:
    layers = find_linear_layers(network, QuantizationContext(in_float=frozenset({"fc1", "conv1"})))
    assert [layer.node.name for layer in layers] == ["fc2"]


def test_replaced_weights_go_unless_used_elsewhere(make_model) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "own"], ["a"], name="first"),
        helper.make_node("MatMul", ["a", "shared"], ["b"], name="second"),
        helper.make_node("Add", ["b", "shared"], ["y"], name="sum"),
    ]
    values = {"own": np.eye(3), "shared": np.eye(3), "of_nobody": np.zeros(1)}
    model = make_model(nodes, {name: value.astype(np.float32) for name, value in values.items()}, [3, 3])
    new = numpy_helper.from_array(np.float32([2]), "two")
    replacements = {
        "a": [helper.make_node("Mul", ["x", "two"], ["a"])],
        "b": [helper.make_node("Neg", ["a"], ["c"]), helper.make_node("Neg", ["c"], ["b"])],
    }
    replace_nodes(model, replacements, [new])
    assert [node.op_type for node in model.graph.node] == ["Mul", "Neg", "Neg", "Add"]
    assert {tensor.name for tensor in model.graph.initializer} == {"shared", "of_nobody", "two"}


def test_constants_of_a_branch_stay(make_model, run) -> None:
    """A constant that only the inside of an If uses."""

    def branch(name: str) -> onnx.GraphProto:
        output_info = [helper.make_tensor_value_info(f"{name}_y", TensorProto.FLOAT, None)]
        return helper.make_graph([helper.make_node("Mul", ["a", name], [f"{name}_y"])], name, [], output_info)

    nodes = [
        helper.make_node("MatMul", ["x", "weight"], ["a"], name="fc"),
        helper.make_node("If", ["condition"], ["y"], then_branch=branch("two"), else_branch=branch("three")),
    ]
    values = {"weight": np.eye(2, dtype=np.float32), "two": np.float32(2), "three": np.float32(3), "condition": [True]}
    model = make_model(nodes, values, [1, 2])
    replace_nodes(model, {"a": [helper.make_node("Identity", ["x"], ["a"])]}, [])
    np.testing.assert_array_equal(run(model, np.float32([[5, 7]])), [[10, 14]])
    assert "weight" not in {tensor.name for tensor in model.graph.initializer}
