from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from vgg_export.eager import eager_function
from vgg_export.exporters.onnx import torch2onnx
from vgg_export.exporters.preprocessing import embed_preprocessing, prepend_preprocessing
from vgg_runtime.backends.base import SessionConfig
from vgg_runtime.backends.registry import open_backend
from vgg_runtime.bundle.manifest import InputSpec, OutputSpec
from vgg_runtime.imaging.preprocessing import Preprocessing

INPUT_SPEC, OUTPUT_SPEC = InputSpec(("batch", 3, 12, 10)), OutputSpec("logits", 7)
PREPROCESSINGS = {
    "scaled": Preprocessing(),
    "scaled and normalized": Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    "mean alone, unscaled": Preprocessing("BGR", divide_by=1.0, mean=(103.939, 116.779, 123.68)),
    "std alone": Preprocessing(std=(0.5, 0.25, 0.3)),
}


@pytest.fixture(params=PREPROCESSINGS.values(), ids=PREPROCESSINGS)
def preprocessing(request: pytest.FixtureRequest) -> Preprocessing:
    return request.param


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    # The first layer hands every pixel on: a wrong channel, place or rounding cannot cancel out.
    return nn.Sequential(nn.Flatten(), nn.Linear(360, 7)).eval()


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 12, 10, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def all_values() -> np.ndarray:
    """Every 8-bit value in every channel."""
    values = np.arange(3 * 360, dtype=np.uint64).reshape(3, 12, 10, 3)
    return (values // 3 % 256).astype(np.uint8)


def planes_of(pixels: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    return np.stack([preprocessing.normalize(image) for image in pixels])


def test_onnx_of_pixels_equals_onnx_of_planes(
    network: nn.Module, preprocessing: Preprocessing, pixels: np.ndarray, tmp_path: Path
) -> None:
    file = tmp_path / "model.onnx"
    torch2onnx(network, file, input_spec=INPUT_SPEC, output_spec=OUTPUT_SPEC, metadata={"kept": "yes"})
    before = open_backend("onnxruntime", file, SessionConfig("cpu", 1)).run(planes_of(pixels, preprocessing))
    embed_preprocessing(file, preprocessing, INPUT_SPEC.as_pixels())
    onnx.checker.check_model(str(file), full_check=True)
    after = open_backend("onnxruntime", file, SessionConfig("cpu", 1))
    np.testing.assert_array_equal(after.run(pixels), before)
    assert after.metadata["kept"] == "yes"
    (new_input,) = onnx.load(file, load_external_data=False).graph.input
    assert [size.dim_param or size.dim_value for size in new_input.type.tensor_type.shape.dim] == ["batch", 12, 10, 3]


def test_names_of_the_network_stay_its_own(tmp_path: Path, pixels: np.ndarray) -> None:
    class Normalizing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("input_mean", torch.full((1, 3, 1, 1), 0.25))
            self.register_buffer("input__std", torch.full((1, 3, 1, 1), 2.0))

        def forward(self, planes: torch.Tensor) -> torch.Tensor:
            return ((planes - self.input_mean) / self.input__std).flatten(1)

    preprocessing, file = PREPROCESSINGS["scaled and normalized"], tmp_path / "model.onnx"
    torch2onnx(Normalizing().eval(), file, input_spec=INPUT_SPEC, output_spec=OUTPUT_SPEC, metadata={})
    before = open_backend("onnxruntime", file, SessionConfig("cpu", 1)).run(planes_of(pixels, preprocessing))
    embed_preprocessing(file, preprocessing, INPUT_SPEC.as_pixels())
    names = [tensor.name for tensor in onnx.load(file).graph.initializer]
    assert {"input_mean", "input__std"} < set(names)
    assert len(set(names)) == len(names)
    np.testing.assert_array_equal(open_backend("onnxruntime", file, SessionConfig("cpu", 1)).run(pixels), before)


def test_one_channel_keeps_the_layout_of_convolutions(pixels: np.ndarray) -> None:
    torch.manual_seed(0)
    network, preprocessing = nn.Conv2d(1, 4, 3).eval(), Preprocessing("L", mean=(0.3,), std=(0.35,))
    strides = []
    network.register_forward_pre_hook(lambda module, args: strides.append(args[0].stride()))
    grey = pixels[..., :1]
    before = eager_function(network)(planes_of(grey, preprocessing))
    np.testing.assert_array_equal(eager_function(prepend_preprocessing(network, preprocessing))(grey), before)
    assert strides == [(120, 120, 10, 1)] * 2


def test_module_of_pixels_equals_module_of_planes(
    network: nn.Module, preprocessing: Preprocessing, pixels: np.ndarray
) -> None:
    before = eager_function(network)(planes_of(pixels, preprocessing))
    after = eager_function(prepend_preprocessing(network, preprocessing))(pixels)
    np.testing.assert_array_equal(after, before)


def test_every_8_bit_value_is_preprocessed_to_the_bit(
    preprocessing: Preprocessing, all_values: np.ndarray, tmp_path: Path
) -> None:
    expected = planes_of(all_values, preprocessing)
    outputs = eager_function(prepend_preprocessing(nn.Identity(), preprocessing))(all_values)
    np.testing.assert_array_equal(outputs, expected)
    file = tmp_path / "model.onnx"
    torch2onnx(nn.Flatten(), file, input_spec=INPUT_SPEC, output_spec=OUTPUT_SPEC, metadata={})
    embed_preprocessing(file, preprocessing, INPUT_SPEC.as_pixels())
    outputs = open_backend("onnxruntime", file, SessionConfig("cpu", 1)).run(all_values)
    np.testing.assert_array_equal(outputs, expected.reshape(3, -1))
