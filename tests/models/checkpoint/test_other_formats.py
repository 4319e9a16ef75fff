from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from vgg_models.checkpoint.container import detect_container
from vgg_models.checkpoint.other_formats import recognise_other_format
from vgg_runtime.errors import CheckpointError

CORE_ML = b"\x08\x04" + b"\x12\x03\x0a\x01x" + b"\xa2\x1f\x02\x08\x01"  # specificationVersion, description, field 500
SAVED_MODEL = b"\x08\x01" + b"\x12\x03\x0a\x01x"


@pytest.fixture
def onnx_model(tmp_path: Path) -> Path:
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 8, 8])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 192])
    weight = helper.make_tensor("weight", TensorProto.FLOAT, [1], [1.0])
    nodes = [helper.make_node("Flatten", ["image"], ["flat"]), helper.make_node("Mul", ["flat", "weight"], ["scores"])]
    graph = helper.make_graph(nodes, "net", [image], [scores], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], producer_name="maker")
    onnx.save(model, tmp_path / "model.pth")  # the name says nothing
    return tmp_path / "model.pth"


def _refusal(path: Path) -> CheckpointError:
    with pytest.raises(CheckpointError) as caught:
        detect_container(path)
    return caught.value


def test_an_onnx_model_is_told_with_what_can_be_done(onnx_model: Path) -> None:
    refusal = _refusal(onnx_model)
    assert (
        f"{onnx_model} is an ONNX model already (producer maker; opset 20; inputs image [batch, 3, 8, 8]; "
        "outputs scores [batch, 192]), not a PyTorch checkpoint." in refusal.message
    )
    assert f"vgg-bench BUNDLE --also NAME={onnx_model}" in refusal.hint
    assert f"vgg-run predict {onnx_model}" in refusal.hint


def test_without_onnx_the_kind_alone_is_told(onnx_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert "is an ONNX model already, not a PyTorch checkpoint" in _refusal(onnx_model).message


@pytest.mark.parametrize("kept", [20, -1])
def test_a_file_that_is_cut_off_is_not_taken_for_onnx(onnx_model: Path, kept: int) -> None:
    onnx_model.write_bytes(onnx_model.read_bytes()[:kept])
    assert "ONNX" not in _refusal(onnx_model).message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x1c\0\0\0TFL3" + bytes(20), "a TensorFlow Lite model"),
        (b"ftrt" + bytes(20), "a TensorRT engine"),
        (CORE_ML, "a Core ML model"),
        (SAVED_MODEL, "a TensorFlow SavedModel"),
    ],
    ids=["tflite", "engine", "mlmodel", "pb"],
)
def test_models_of_other_tools_are_named(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "model").write_bytes(content)
    refusal = _refusal(tmp_path / "model")
    assert f"is {said}, not a PyTorch checkpoint" in refusal.message
    assert "PyTorch checkpoint that it was made from" in refusal.hint


def test_a_keras_archive_is_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
        for name in ("metadata.json", "config.json", "model.weights.h5"):
            archive.writestr(name, b"")
    assert "is a Keras model" in _refusal(tmp_path / "model.keras").message


@pytest.mark.parametrize(
    "content",
    [
        b"\x08",
        b"\x08" + b"\xff" * 30,
        b"\x08\x01\x0f",
        b"\x08\x01\x00\x00",
        b"\x08\x01\x3a\xff\xff\xff\xff\x0f",
        b"\x08\x01" * 100_001,
    ],
    ids=["key", "number", "type", "field 0", "length", "endless"],
)
def test_bytes_that_are_no_message_are_of_no_format(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    assert recognise_other_format(tmp_path / "file", content[:100]) is None
