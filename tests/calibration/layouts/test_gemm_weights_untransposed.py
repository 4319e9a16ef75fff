from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from vgg_calibration.layouts.gemm import gemm_weights_untransposed

RANDOM = np.random.default_rng(0)
WEIGHT = RANDOM.integers(-127, 128, (5, 20)).astype(np.int8)  # (out features, in features)
SCALE = np.exp2(RANDOM.integers(-3, 3, 5)).astype(np.float32)
X = RANDOM.integers(-9, 10, (3, 20)).astype(np.float32)


def gemm(make_model, *, transposed: bool = True, twice: bool = False) -> onnx.ModelProto:
    """``y = x @ dequantized weight`` of an 8-bit ``x``, twice where it is asked."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "step", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "step", "zero"], ["a"]),
        helper.make_node("DequantizeLinear", ["weight", "scale"], ["w"], axis=0 if transposed else 1),
        helper.make_node("Gemm", ["a", "w"], ["y"], name="fc", transB=int(transposed)),
    ]
    if twice:
        nodes += [helper.make_node("Gemm", ["a", "w"], ["z"], name="again", transB=1)]
    constants = {"weight": WEIGHT if transposed else WEIGHT.T.copy(), "scale": SCALE}
    return make_model(nodes, constants | {"step": np.float32(1), "zero": np.uint8(128)}, ["batch", 20])


def test_weight_is_transposed_and_outputs_stay_the_same(make_model, run, constants) -> None:
    model = gemm(make_model)
    before = run(model, X)
    assert gemm_weights_untransposed(model) == ["fc"]
    np.testing.assert_array_equal(constants(model)["weight"], WEIGHT.T)
    np.testing.assert_array_equal(run(model, X), before)
    np.testing.assert_array_equal(before, X @ (WEIGHT * SCALE[:, None]).T)


def test_what_lies_as_it_should_stays(make_model) -> None:
    model = gemm(make_model, transposed=False)
    before = model.SerializeToString()
    assert gemm_weights_untransposed(model) == []
    assert model.SerializeToString() == before


def test_a_weight_that_is_used_twice_stays(make_model) -> None:
    model = gemm(make_model, twice=True)
    before = model.SerializeToString()
    assert gemm_weights_untransposed(model) == []
    assert model.SerializeToString() == before


@pytest.mark.parametrize("transposed", [True, False])
def test_a_float_weight_stays(linear, transposed: bool) -> None:
    model = linear(np.float32(WEIGHT.T), transposed=transposed)
    assert gemm_weights_untransposed(model) == []
