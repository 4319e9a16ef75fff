from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from vgg_calibration.onnx_io import read_onnx, write_onnx


@pytest.mark.parametrize("single_file", [True, False])
def test_what_is_written_reads_back_and_runs_alike(
    network: onnx.ModelProto, images: np.ndarray, run, constants, tmp_path: Path, single_file: bool
) -> None:
    data = write_onnx(network, tmp_path / "model.onnx", single_file=single_file)
    assert data == (None if single_file else tmp_path / "model.onnx.data")
    names = {"model.onnx"} if single_file else {"model.onnx", "model.onnx.data"}
    assert {file.name for file in tmp_path.iterdir()} == names
    assert ((tmp_path / "model.onnx").stat().st_size < 5000) == (not single_file)
    model = read_onnx(tmp_path / "model.onnx")
    for name, value in constants(network).items():
        np.testing.assert_array_equal(constants(model)[name], value)
    assert {entry.key: entry.value for entry in model.metadata_props} == {"origin": "a test"}
    np.testing.assert_array_equal(run(model, images), run(network, images))


def test_small_weights_need_no_second_file(linear, tmp_path: Path) -> None:
    assert write_onnx(linear(np.eye(3, dtype=np.float32)), tmp_path / "model.onnx", single_file=False) is None
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]


def test_recorded_shapes_are_dropped(network: onnx.ModelProto, tmp_path: Path) -> None:
    inferred = onnx.shape_inference.infer_shapes(network)
    assert inferred.graph.value_info
    onnx.save(inferred, tmp_path / "model.onnx")
    assert not read_onnx(tmp_path / "model.onnx").graph.value_info


def test_nodes_are_written_in_an_order_that_runs(
    network: onnx.ModelProto, images: np.ndarray, run, tmp_path: Path
) -> None:
    expected = run(network, images)
    nodes = list(reversed(network.graph.node))
    del network.graph.node[:]
    network.graph.node.extend(nodes)
    write_onnx(network, tmp_path / "model.onnx", single_file=True)
    np.testing.assert_array_equal(run(onnx.load(tmp_path / "model.onnx"), images), expected)


def test_the_same_model_gives_the_same_bytes(network: onnx.ModelProto, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_onnx(network, tmp_path / name / "model.onnx", single_file=False)
    for name in ("model.onnx", "model.onnx.data"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
