from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vgg_calibration.quantizers.base import QuantizationContext
from vgg_calibration.statistics.collect import compute_ranges
from vgg_calibration.statistics.images import CalibrationImages
from vgg_export.exporters.onnx import torch2onnx
from vgg_export.verification.reference import Reference, run_eager
from vgg_export.verification.samples import Samples
from vgg_export.writing.precision_trials import Trials
from vgg_runtime.bundle.manifest import InputSpec, OutputSpec
from vgg_runtime.imaging.preprocessing import Preprocessing

PIXELS = np.random.default_rng(0).integers(256, size=(5, 8, 8, 1), dtype=np.uint8)
NAMES = tuple(map(str, range(5)))


def test_agreement_held_out_is_the_lower_of_rows_and_images(
    small_network, input_spec: InputSpec, tmp_path: Path
) -> None:
    network, file = small_network(), tmp_path / "model.onnx"
    torch2onnx(network, file, input_spec=input_spec, output_spec=OutputSpec("logits", 6), metadata={})
    images = CalibrationImages(NAMES, (), NAMES, tuple(PIXELS), Preprocessing("L"))
    context = QuantizationContext(ranges=compute_ranges(file, images.batches(), "minmax"))
    held_out = run_eager(network, Samples(NAMES, (b"",) * 5, PIXELS, Preprocessing("L"), True, True), input_spec)
    trials = Trials(file, list(images.batches()), tie=0)
    # Eager PyTorch is made to answer otherwise on one image: in 1 row of 5, and in none of those of larger batches.
    assert trials.evaluate_held_out(context, held_out).top1_agreement == 1
    outputs = list(held_out.outputs)
    outputs[4] = -outputs[4]
    one_differs = Reference(held_out.batches, held_out.samples, tuple(outputs))
    figures = trials.evaluate_held_out(context, one_differs)
    assert figures.samples == 12
    assert figures.top1_agreement == pytest.approx(4 / 5)
    assert figures.top1_agreement_with_ties == pytest.approx(4 / 5)
