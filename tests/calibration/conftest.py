"""Small real ONNX models, and what onnxruntime makes of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

MakeModel = Callable[..., onnx.ModelProto]
RunModel = Callable[..., np.ndarray]


@pytest.fixture
def make_model() -> MakeModel:
    """Make a model from nodes and constants: input "x" of the given shape, output "y"."""

    def make(
        nodes: Sequence[onnx.NodeProto], constants: Mapping[str, Any], shape: Sequence[str | int]
    ) -> onnx.ModelProto:
        tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
        input_info = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
        output_info = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
        graph = helper.make_graph(nodes, "small", input_info, output_info, tensors)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        helper.set_model_props(model, {"origin": "a test"})
        return model

    return make


@pytest.fixture
def linear(make_model: MakeModel) -> Callable[..., onnx.ModelProto]:
    """Make ``y = x @ weight + bias`` as one Gemm or MatMul called "fc"."""

    def make(
        weight: np.ndarray, bias: np.ndarray | None = None, *, form: str = "Gemm", transposed: bool = False
    ) -> Any:
        constants = {"fc.weight": weight.T.copy() if transposed else weight}
        inputs = ["x", "fc.weight"]
        if bias is not None:
            constants["fc.bias"] = bias
            inputs.append("fc.bias")
        attributes = {"transB": 1} if transposed else {}
        node = helper.make_node(form, inputs, ["y"], name="fc", **attributes)
        return make_model([node], constants, ["batch", len(weight)])

    return make


@pytest.fixture
def network(make_model: MakeModel) -> onnx.ModelProto:
    """Two convolutions, a Gemm and a MatMul for one plane of 8 x 8, six classes."""
    random = np.random.default_rng(0)
    weights = {
        "conv1.weight": random.standard_normal((4, 1, 3, 3)) / 3,
        "conv1.bias": random.standard_normal(4),
        "conv2.weight": random.standard_normal((8, 4, 3, 3)) / 6,
        "conv2.bias": random.standard_normal(8),
        "fc1.weight": random.standard_normal((24, 128)) / 11,
        "fc1.bias": random.standard_normal(24),
        "fc2.weight": random.standard_normal((24, 6)) / 5,
    }
    nodes = [
        helper.make_node("Conv", ["x", "conv1.weight", "conv1.bias"], ["a"], name="conv1", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"], name="relu1"),
        helper.make_node("Conv", ["b", "conv2.weight", "conv2.bias"], ["c"], name="conv2", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["d"], name="relu2"),
        helper.make_node("MaxPool", ["d"], ["e"], name="pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["e"], ["f"], name="flatten"),
        helper.make_node("Gemm", ["f", "fc1.weight", "fc1.bias"], ["g"], name="fc1", transB=1),
        helper.make_node("Relu", ["g"], ["h"], name="relu3"),
        helper.make_node("MatMul", ["h", "fc2.weight"], ["y"], name="fc2"),
    ]
    return make_model(nodes, {name: value.astype(np.float32) for name, value in weights.items()}, ["batch", 1, 8, 8])


@pytest.fixture
def images() -> np.ndarray:
    """Float32 (16, 1, 8, 8)."""
    return np.random.default_rng(1).standard_normal((16, 1, 8, 8), np.float32)


@pytest.fixture
def run() -> RunModel:
    """Run a model in onnxruntime as a user would, and return its output, or the tensor called ``name``."""

    def run_model(model: onnx.ModelProto, x: np.ndarray, name: str = "y") -> np.ndarray:
        if name != "y":
            copy = onnx.ModelProto()
            copy.CopyFrom(model)
            copy.graph.output.append(onnx.ValueInfoProto(name=name))
            model = copy
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        (output,) = session.run([name], {"x": x})
        assert isinstance(output, np.ndarray)
        return output

    return run_model


@pytest.fixture
def constants() -> Callable[[onnx.ModelProto], dict[str, np.ndarray]]:
    """Return a model's constants by name."""
    return lambda model: {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
