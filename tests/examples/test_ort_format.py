"""docs/native.md: a bundle's models as ``.ort`` files, by ONNX Runtime's own tool."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from vgg_runtime import Classifier
from vgg_runtime.bundle.directory import Bundle
from vgg_runtime.imaging.folders import find_images
from vgg_runtime.metrics import snr_db

PRECISIONS = ("fp32", "fp16", "int8-dynamic", "int8-static", "int8-weights", "int4-weights")


@pytest.fixture(scope="module")
def converted(embedded_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the converted models, as the page says."""
    folder = tmp_path_factory.mktemp("ort")
    ignore = shutil.ignore_patterns("torchscript-*")
    shutil.copytree(embedded_bundle.directory, folder / "models", ignore=ignore)
    command = [sys.executable, "-m", "onnxruntime.tools.convert_onnx_models_to_ort", folder / "models"]
    options = ["--output_dir", folder / "mobile", "--optimization_style", "Fixed", "--enable_type_reduction"]
    subprocess.run(list(map(str, [*command, *options])), check=True, capture_output=True)
    return folder / "mobile"


@pytest.mark.parametrize("precision", PRECISIONS)
def test_converted_model_gives_the_outputs_of_the_bundle(
    converted: Path, precision: str, example: Any, embedded_bundle: Bundle
) -> None:
    name, images = f"onnx-{precision}", find_images([example.images])
    with Classifier(embedded_bundle.directory, variant=name, device="cpu") as classifier:
        batch = np.stack([classifier.preprocess(image) for image in images])
        expected = classifier.logits(batch)
    session = onnxruntime.InferenceSession(converted / name / "model.ort", providers=["CPUExecutionProvider"])
    (outputs,) = session.run(None, {"input": batch})
    assert snr_db(expected, outputs) > 100
    assert np.array_equal(outputs.argmax(axis=1), expected.argmax(axis=1))


def test_list_of_operators_is_written_for_a_reduced_build(converted: Path) -> None:
    text = (converted / "required_operators_and_types.config").read_text("utf-8")
    assert "MatMulNBits" in text
    assert "QLinearConv" in text
