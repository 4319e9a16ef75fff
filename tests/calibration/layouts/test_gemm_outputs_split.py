from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from vgg_calibration.layouts.gemm import gemm_outputs_split

RANDOM = np.random.default_rng(0)
WEIGHT = RANDOM.integers(-127, 128, (20, 7)).astype(np.int8)  # (in features, out features)
SCALE = np.exp2(RANDOM.integers(-3, 3, 7)).astype(np.float32)
BIAS = RANDOM.integers(-1000, 1000, 7).astype(np.int32)
X = RANDOM.integers(-9, 10, (3, 20)).astype(np.float32)


def gemm(
    make_model, *, bias: bool = True, scale: Any = SCALE, transposed: bool = False, uses: int = 1
) -> onnx.ModelProto:
    """``y = x @ dequantized weight + dequantized bias`` of an 8-bit ``x``."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "step", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "step", "zero"], ["a"]),
        helper.make_node("DequantizeLinear", ["weight", "scale"], ["w"], name="weight_dq", axis=0 if transposed else 1),
        helper.make_node("DequantizeLinear", ["bias", "bias_scale"], ["b"], name="bias_dq", axis=0),
    ]
    for number in range(uses):
        inputs = ["a", "w", "b"] if bias else ["a", "w"]
        output = "y" if not number else f"y{number}"
        nodes.append(helper.make_node("Gemm", inputs, [output], name=f"fc{number}", transB=int(transposed)))
    weight = WEIGHT.T.copy() if transposed else WEIGHT
    constants = {"weight": weight, "scale": scale, "step": np.float32(1), "zero": np.uint8(128)}
    return make_model(nodes, constants | {"bias": BIAS, "bias_scale": scale}, ["batch", 20])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("scale", [SCALE, np.float32(0.25)], ids=["per channel", "per tensor"])
def test_each_part_is_small_enough_and_the_outputs_are_the_same(
    make_model, run, constants, bias: bool, scale: Any
) -> None:
    model = gemm(make_model, bias=bias, scale=scale)
    before = run(model, X)
    assert gemm_outputs_split(model, max_bytes=60) == ["fc0"]
    weights = [values for name, values in constants(model).items() if name.startswith("weight")]
    assert [values.shape for values in weights] == [(20, 3), (20, 2), (20, 2)]
    np.testing.assert_array_equal(np.concatenate(weights, axis=1), WEIGHT)
    names = [tensor.name for tensor in model.graph.initializer]
    assert len(set(names)) == len(names)
    np.testing.assert_array_equal(run(model, X), before)
    np.testing.assert_array_equal(before, X @ (WEIGHT * scale) + (BIAS * scale if bias else 0))


def test_no_part_is_without_outputs(make_model, run, constants) -> None:
    model = gemm(make_model)
    before = run(model, X)
    assert gemm_outputs_split(model, max_bytes=1) == ["fc0"]
    assert [values.shape for name, values in constants(model).items() if name.startswith("weight")] == 7 * [(20, 1)]
    np.testing.assert_array_equal(run(model, X), before)


def test_what_is_small_enough_stays(make_model) -> None:
    model = gemm(make_model)
    before = model.SerializeToString()
    assert gemm_outputs_split(model, max_bytes=140) == []
    assert gemm_outputs_split(model) == []
    assert model.SerializeToString() == before


@pytest.mark.parametrize("changes", [{"transposed": True}, {"uses": 2}], ids=["other order", "used twice"])
def test_what_cannot_be_split_by_columns_for_itself_stays(make_model, changes: dict[str, Any]) -> None:
    model = gemm(make_model, **changes)
    before = model.SerializeToString()
    assert gemm_outputs_split(model, max_bytes=60) == []
    assert model.SerializeToString() == before


def test_a_float_weight_stays(linear) -> None:
    assert gemm_outputs_split(linear(np.float32(WEIGHT)), max_bytes=60) == []
