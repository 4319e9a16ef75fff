from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from vgg_calibration.statistics.collect import activation_names, collect_histograms, session_with_outputs
from vgg_runtime.errors import CalibrationError


@pytest.fixture
def file(network: onnx.ModelProto, tmp_path: Path) -> Path:
    """The network with its weights beside it."""
    path, copy = tmp_path / "model.onnx", onnx.ModelProto()
    copy.CopyFrom(network)  # saving moves the weights out
    onnx.save(copy, path, save_as_external_data=True, location="model.onnx.data", size_threshold=0)
    return path


def test_every_activation_is_seen_with_its_values(
    network: onnx.ModelProto, file: Path, images: np.ndarray, run
) -> None:
    done: list[int] = []
    histograms = collect_histograms(file, [images[:10], images[10:]], on_image=done.append)
    assert list(histograms) == ["x", "a", "b", "c", "d", "e", "f", "g", "h", "y"]
    assert done == [10, 16]
    for name, histogram in histograms.items():
        values = images if name == "x" else run(network, images, name)
        assert histogram.counts.sum() == values.size, name
        assert histogram.low == pytest.approx(min(0, values.min()), rel=1e-5), name
        assert histogram.high == pytest.approx(values.max(), rel=1e-5), name
        middle = np.average(histogram.centres, weights=histogram.counts)
        assert middle == pytest.approx(values.mean(), abs=(histogram.high - histogram.low) / 1000), name


def test_activations_that_are_no_floats_have_no_histogram(make_model, tmp_path: Path) -> None:
    nodes = [helper.make_node("Shape", ["x"], ["shape"]), helper.make_node("Reshape", ["x", "shape"], ["y"])]
    onnx.save(make_model(nodes, {}, ["batch", 3]), tmp_path / "model.onnx")
    histograms = collect_histograms(tmp_path / "model.onnx", [np.ones((2, 3), np.float32)])
    assert {name: int(histogram.counts.sum()) for name, histogram in histograms.items()} == {"x": 6, "y": 6}


def test_an_output_that_a_node_leaves_out_is_none(make_model, tmp_path: Path) -> None:
    model = make_model([helper.make_node("Dropout", ["x"], ["y", ""], name="dropout")], {}, ["batch", 3])
    assert activation_names(model) == ["x", "y"]
    onnx.save(model, tmp_path / "model.onnx")
    assert collect_histograms(tmp_path / "model.onnx", [np.ones((2, 3), np.float32)])["y"].high == 1


def test_an_activation_that_is_not_finite_is_refused_by_name(make_model, tmp_path: Path) -> None:
    nodes = [helper.make_node("Log", ["x"], ["logarithm"]), helper.make_node("Relu", ["logarithm"], ["y"])]
    onnx.save(make_model(nodes, {}, ["batch", 2]), tmp_path / "model.onnx")
    with pytest.raises(CalibrationError, match="logarithm becomes NaN or infinite"):
        collect_histograms(tmp_path / "model.onnx", [np.array([[1, 0]], np.float32)])


def test_outputs_are_added_once_and_the_file_is_as_before(file: Path, images: np.ndarray) -> None:
    before = file.read_bytes()
    model = onnx.load(file, load_external_data=False)
    with session_with_outputs(model, ["b", "y"], beside=file) as session:
        assert [output.name for output in session.get_outputs()] == ["y", "b"]
        assert session.run(["b"], {"x": images})[0].shape == (16, 4, 8, 8)
    assert file.read_bytes() == before


@pytest.mark.parametrize("batch", [np.ones((1, 1, 8, 8), np.float32), np.ones((1, 3, 8, 8), np.float32), None])
def test_collection_leaves_no_file_beside_the_model(file: Path, batch: np.ndarray | None) -> None:
    if batch is None:
        file.with_name("model.onnx.data").write_bytes(b"")  # no session can be made
    fails = batch is None or batch.shape[1] == 3
    before = sorted(file.parent.iterdir())
    try:
        collect_histograms(file, [np.ones((1, 1, 8, 8), np.float32) if batch is None else batch])
    except Exception:  # onnxruntime's errors have no common base
        assert fails
    else:
        assert not fails
    assert sorted(file.parent.iterdir()) == before
