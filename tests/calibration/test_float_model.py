"""What ONNX files there are: which are refused, and in what form the others are read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from vgg_calibration.float_model import MIN_OPSET, open_float_model
from vgg_runtime.bundle.manifest import InputSpec
from vgg_runtime.errors import CalibrationError

RANDOM = np.random.default_rng(0)

Change = Callable[[onnx.ModelProto], object]


@pytest.fixture
def save(network: onnx.ModelProto, tmp_path: Path) -> Callable[[Change], Path]:
    """Save the network after a change to it."""

    def write(change: Change) -> Path:
        change(network)
        onnx.save(network, tmp_path / "model.onnx")
        return tmp_path / "model.onnx"

    return write


def set_input(model: onnx.ModelProto, dtype: int, shape: list[str | int] | None) -> None:
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", dtype, shape))


def set_opset(model: onnx.ModelProto, version: int) -> None:
    model.opset_import[0].version = version


def set_weight_dtype(model: onnx.ModelProto, dtype: type) -> None:
    tensor = model.graph.initializer[0]
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(dtype), tensor.name))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model: model.graph.input.pop(), "it has no input"),
        (
            lambda model: model.graph.input.append(helper.make_tensor_value_info("mask", 1, [1])),
            r"it has 2 inputs \(x, mask\)",
        ),
        (lambda model: set_input(model, TensorProto.UINT8, ["batch", 8, 8, 1]), "input x is uint8"),
        (lambda model: set_input(model, TensorProto.FLOAT16, ["batch", 1, 8, 8]), "input x is float16"),
        (lambda model: set_input(model, TensorProto.FLOAT, ["batch", 64]), r"input x has the shape \(batch, 64\)"),
        (
            lambda model: set_input(model, TensorProto.FLOAT, ["batch", 1, "height", "width"]),
            r"input x has the shape \(batch, 1, height, width\)",
        ),
        (lambda model: set_input(model, TensorProto.FLOAT, None), r"input x has the shape \(\)"),
        (lambda model: set_opset(model, MIN_OPSET - 1), "opset 12 is too old, 13 or later is needed"),
        (lambda model: set_weight_dtype(model, np.float16), r"weight conv1\.weight is float16"),
        (
            lambda model: model.graph.node.append(helper.make_node("DynamicQuantizeLinear", ["y"], ["q", "s", "z"])),
            r"it is quantized already \(DynamicQuantizeLinear\)",
        ),
    ],
    ids=["none", "two", "pixels", "half", "flat", "any size", "no shape", "opset", "half weights", "quantized"],
)
def test_model_that_does_not_fit_is_refused(save: Callable[[Change], Path], change: Change, message: str) -> None:
    file = save(change)
    with (
        pytest.raises(CalibrationError, match=rf"model\.onnx: {message}.*\nA float32 network with one image"),
        open_float_model(file),
    ):
        pass


@pytest.mark.parametrize(
    ("content", "message"), [(None, "cannot be read: No such file"), (b"no model", "is not an ONNX model")]
)
def test_file_that_is_no_model_is_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(CalibrationError, match=message), open_float_model(tmp_path / "model.onnx"):
        pass


def test_missing_weights_are_named(network: onnx.ModelProto, tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    onnx.save(network, file, save_as_external_data=True, location="weights.bin", size_threshold=0)
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(CalibrationError, match=r"weights in .*weights\.bin are missing"), open_float_model(file):
        pass


def test_fixed_batch_is_part_of_the_input(save: Callable[[Change], Path]) -> None:
    file = save(lambda model: set_input(model, TensorProto.FLOAT, [4, 1, 8, 8]))
    with open_float_model(file) as float_model:
        assert float_model.input_spec == InputSpec((4, 1, 8, 8), "x")


def test_older_exporters_graph_takes_the_form_of_ours(make_model: Callable, tmp_path: Path) -> None:
    """Weights as Constant nodes and as inputs, no names, a BatchNorm and a Dropout."""
    weight = RANDOM.standard_normal((4, 1, 3, 3)).astype(np.float32)
    statistics = {name: RANDOM.uniform(0.5, 2, 4).astype(np.float32) for name in ("scale", "bias", "mean", "var")}
    nodes = [
        helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(weight)),
        helper.make_node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["a", *statistics], ["b"]),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("Dropout", ["c"], ["y"]),
    ]
    model = make_model(nodes, statistics, ["batch", 1, 8, 8])
    model.graph.input.append(helper.make_tensor_value_info("scale", TensorProto.FLOAT, [4]))
    onnx.save(model, tmp_path / "model.onnx")
    x = RANDOM.standard_normal((3, 1, 8, 8)).astype(np.float32)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    expected = onnxruntime.InferenceSession(tmp_path / "model.onnx", options).run(None, {"x": x})[0]
    with open_float_model(tmp_path / "model.onnx") as float_model:
        graph = onnx.load(float_model.file).graph
        actual = onnxruntime.InferenceSession(float_model.file).run(None, {"x": x})[0]
    assert [node.op_type for node in graph.node if node.op_type != "Identity"] == ["Conv", "Relu"]
    assert all(node.name for node in graph.node)
    assert {node.input[1] for node in graph.node if node.op_type == "Conv"} <= {item.name for item in graph.initializer}
    np.testing.assert_allclose(actual, expected, atol=1e-5)
    assert not float_model.file.exists()
