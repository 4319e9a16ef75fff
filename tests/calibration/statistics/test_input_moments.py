from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from vgg_calibration.statistics import input_moments
from vgg_calibration.statistics.input_moments import measure_input_moments

RANDOM = np.random.default_rng(0)


def tensor(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    ("shape", "attributes"),
    [
        ((6, 4, 3, 3), {"pads": [1, 0, 2, 1], "auto_pad": "NOTSET"}),
        ((6, 4, 3, 2), {"strides": [2, 1], "dilations": [1, 2]}),
        ((4, 1, 3, 3), {"group": 4, "pads": [1, 1, 1, 1]}),
        ((6, 2, 1, 1), {"group": 2}),
    ],
    ids=["padded", "strided and dilated", "depthwise", "grouped"],
)
def test_moments_give_the_energy_of_a_convolution(make_model, run, tmp_path: Path, shape, attributes) -> None:
    """The weights applied to the moments from both sides are the sum of the squared outputs."""
    weight, images = tensor(*shape), tensor(2, 4, 8, 9)
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="conv", kernel_shape=shape[2:], **attributes)
    model = make_model([node], {"w": weight}, ["batch", 4, 8, 9])
    onnx.save(model, tmp_path / "model.onnx")
    moments = measure_input_moments(tmp_path / "model.onnx", [images[:1], images[1:]])["w"]
    rows = weight.reshape(len(moments), -1, moments.shape[-1])
    energy = np.einsum("grc,gcd,grd->gr", rows, moments, rows).ravel()
    np.testing.assert_allclose(energy, (run(model, images) ** 2).sum(axis=(0, 2, 3)), rtol=1e-4)


@pytest.mark.parametrize(("form", "transposed"), [("Gemm", True), ("Gemm", False), ("MatMul", False)])
def test_moments_of_a_fully_connected_layer(linear, tmp_path: Path, form: str, transposed: bool) -> None:
    inputs = tensor(7, 5)
    onnx.save(linear(tensor(5, 3), form=form, transposed=transposed), tmp_path / "model.onnx")
    moments = measure_input_moments(tmp_path / "model.onnx", [inputs])
    np.testing.assert_allclose(moments["fc.weight"], [inputs.T @ inputs], rtol=1e-5, atol=1e-5)


def test_wide_layers_and_shared_weights_are_left_out(
    make_model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(input_moments, "MAX_COLUMNS", 5)
    nodes = [
        helper.make_node("MatMul", ["x", "shared"], ["a"], name="first"),
        helper.make_node("MatMul", ["a", "shared"], ["b"], name="second"),
        helper.make_node("MatMul", ["b", "small"], ["c"], name="third"),
        helper.make_node("MatMul", ["c", "wide"], ["y"], name="fourth"),
    ]
    constants = {"shared": tensor(4, 4), "small": tensor(4, 6), "wide": tensor(6, 2)}
    onnx.save(make_model(nodes, constants, ["batch", 4]), tmp_path / "model.onnx")
    assert measure_input_moments(tmp_path / "model.onnx", [tensor(3, 4)]).keys() == {"small"}
