"""Calibration as a step of the export: images, ranges, and the record of both for the manifest."""

from __future__ import annotations

import hashlib
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vgg_calibration.calibration_images import CalibrationImages, read_calibration_images
from vgg_calibration.find_ranges import find_ranges
from vgg_calibration.layer_noise import measure_layer_noise
from vgg_calibration.mixed_precision import Evaluate, choose_in_float
from vgg_calibration.quantizers import Context
from vgg_calibration.quantizers.activations_int8 import activations_int8
from vgg_calibration.ranges import Range
from vgg_calibration.targets import TARGETS
from vgg_export.image_split import Chosen
from vgg_export.progress import OnStep
from vgg_export.quantized_onnx import write_quantized
from vgg_runtime.backends import Placement, open_backend
from vgg_runtime.errors import CalibrationError
from vgg_runtime.manifest import Calibration, Input, ParityFigures
from vgg_runtime.parity import compare
from vgg_runtime.preprocessing import Preprocessing
from vgg_runtime.threads import available_threads

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vgg_export.plan import Options

__all__ = ["Calibrated", "calibrate"]

# Images that each layer's noise is measured on, and that a mixed-precision choice is evaluated on.
NOISE_IMAGES, EVALUATION_IMAGES = 16, 64


@dataclass(frozen=True)
class Calibrated:
    """What calibration found.

    Attributes:
        ranges: of every activation, by name.
        in_float: names of the nodes that int8-static leaves in float to meet the budget.
        record: of all this, for the manifest.
    """

    ranges: dict[str, Range]
    in_float: frozenset[str]
    record: Calibration


def calibrate(
    float_onnx: Path,
    model_digests: dict[str, str],
    chosen: Chosen,
    preprocessing: Preprocessing,
    options: Options,
    *,
    takes: Input,
    on_step: OnStep,
) -> Calibrated:
    """Run the float model over the chosen images; find ranges, each layer's noise, and what stays in float.

    Args:
        model_digests: SHA-256 of each file of the model.
        takes: the input of the model.

    Raises:
        CalibrationError: the images are refused, or too few for what is asked.
    """
    batch_size = takes.batch_size or 1
    images = read_calibration_images(
        (*chosen.files, *chosen.spare),
        chosen.folder,
        preprocessing,
        takes.size,
        count=len(chosen.files),
        on_image=lambda done: on_step("reading calibration images", done, len(chosen.files)),
    )
    _refuse_too_few(images, chosen.folder, options)
    # Images whose ranges were taken flatter the result: the choice of what stays in float is made on others.
    seen, unseen = images.split(len(images) - max(1, len(images) // 4) if options.budget else len(images))
    ranges = find_ranges(
        float_onnx,
        hashlib.sha256("".join(sorted(model_digests.values())).encode()).hexdigest(),
        seen,
        options.calibration_method,
        batch_size=batch_size,
        on_image=lambda done: on_step("calibrating", min(done, len(seen)), len(seen)),
    )
    context = Context(TARGETS[options.target], ranges)
    on_step("measuring the noise of each layer")
    some = seen.split(NOISE_IMAGES)[0]
    noise = measure_layer_noise(float_onnx, ranges, context.target, some.batches(batch_size))
    in_float: frozenset[str] = frozenset()
    if options.budget:
        on_step("choosing what stays in float")
        batches = list(unseen.split(EVALUATION_IMAGES)[0].batches(batch_size))
        in_float = choose_in_float(noise, options.budget, _evaluation(float_onnx, context, batches))
    record = Calibration(
        method=options.calibration_method,
        images=images.names,
        skipped=images.skipped,
        sha256=images.sha256,
        ranges={name: (found.low, found.high) for name, found in ranges.items()},
        layer_snr_db={layer.weight.removesuffix(".weight"): _finite(layer.snr_db) for layer in noise},
    )
    return Calibrated(ranges, in_float, record)


def _refuse_too_few(images: CalibrationImages, folder: Path, options: Options) -> None:
    if len(images) < (options.calibration_size or 0):
        raise CalibrationError(
            f"{folder} has {len(images)} readable images for calibration; {options.calibration_size} were asked for "
            f"({len(images.skipped)} are unreadable: {'; '.join(images.skipped[:5])}).",
            hint="Add images, or ask for fewer with --calibration-size.",
        )
    if options.budget and len(images) < 2:
        raise CalibrationError(
            f"--min-agreement and --min-snr take ranges from some calibration images and choose on others; {folder} "
            f"has {len(images)}.",
            hint="Add images.",
        )


def _finite(decibels: float) -> float | None:
    return decibels if math.isfinite(decibels) else None


def _evaluation(float_onnx: Path, context: Context, batches: Sequence[NDArray[np.float32]]) -> Evaluate:
    """Return a function that quantizes the float model but for some nodes and compares its outputs on ``batches``."""
    reference = _outputs(float_onnx, batches)
    names = [f"calibration image {i}" for i in range(len(reference))]

    def evaluate(in_float: frozenset[str]) -> ParityFigures:
        with tempfile.TemporaryDirectory(dir=float_onnx.parent, prefix=".trial") as folder:
            trial = Path(folder) / "model.onnx"
            chosen = replace(context, in_float=in_float)
            # Without the layouts of onnx-int8-static, by which no output changes.
            write_quantized(float_onnx, trial, [activations_int8], chosen, single_file=True)
            return compare(reference, _outputs(trial, batches), names)

    return evaluate


def _outputs(file: Path, batches: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    run = open_backend("onnxruntime", file, Placement("cpu", available_threads())).run
    return np.concatenate([run(batch) for batch in batches])
