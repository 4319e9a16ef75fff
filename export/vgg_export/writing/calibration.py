"""Calibration as a step of the export: images, ranges, layers in float, and the record for the manifest."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vgg_calibration.mixed_precision import Goal
from vgg_calibration.quantizers.base import QuantizationContext
from vgg_calibration.statistics.collect import cached_ranges
from vgg_calibration.statistics.images import CALIBRATION_SIZE, CalibrationImages, read_calibration_images
from vgg_calibration.targets import TARGETS
from vgg_export.progress import OnNote, OnStep
from vgg_export.verification.reference import Reference
from vgg_export.writing.precision_choice import choose_precision
from vgg_runtime.bundle.manifest import Calibration, Tolerance
from vgg_runtime.errors import CalibrationError

if TYPE_CHECKING:
    from vgg_export.planning.options import Options
    from vgg_export.planning.plan import Plan

__all__ = ["CalibrationResult", "calibrate", "read_images"]


@dataclass(frozen=True)
class CalibrationResult:
    """The result of calibration.

    Attributes:
        context: target, ranges of every activation, and the weights that replace the model's own.
        in_float: names of the nodes that int8-static leaves in float to reach its goal.
        notes: notes on how int8-static reaches it.
        record: the record for the manifest.
    """

    context: QuantizationContext
    in_float: frozenset[str]
    notes: tuple[str, ...]
    record: Calibration


def calibrate(
    float_onnx: Path,
    model_digests: dict[str, str],
    images: CalibrationImages,
    options: Options,
    *,
    batch_size: int,
    tolerance: Tolerance,
    held_out: Reference | None,
    on_step: OnStep,
) -> CalibrationResult:
    """Run the float model on the images; find ranges, the sensitivity of layers, and those that stay in float.

    Args:
        model_digests: SHA-256 of each file of the model.
        images: the first of them are for ranges, if no number was asked for and compression takes more.
        batch_size: images that the model takes at once.
        tolerance: the tolerance of int8-static.
        held_out: eager PyTorch on the images of the gate; None if nothing is verified.
    """
    if options.calibration.size is None:
        images, _ = images.split(CALIBRATION_SIZE)
    # The images that gave the ranges would flatter the result, so the layers in float are chosen on others.
    range_images, evaluation_images = images.split(len(images) - (max(1, len(images) // 4) if len(images) > 1 else 0))
    ranges = cached_ranges(
        float_onnx,
        hashlib.sha256("".join(sorted(model_digests.values())).encode()).hexdigest(),
        range_images,
        options.calibration.method,
        batch_size=batch_size,
        on_image=lambda done: on_step("calibrating", min(done, len(range_images)), len(range_images)),
    )
    choice = choose_precision(
        float_onnx,
        QuantizationContext(TARGETS[options.quantize.target], ranges),
        range_images,
        evaluation_images,
        Goal(tolerance, options.quantize.accuracy_target),
        held_out=held_out,
        batch_size=batch_size,
        all_layers=options.quantize.all_layers or "static" not in options.quantize.methods,
        on_step=on_step,
    )
    record = Calibration(
        method=options.calibration.method,
        images=images.names,
        skipped=images.skipped,
        sha256=images.sha256,
        ranges={name: (span.low, span.high) for name, span in ranges.items()},
        layer_snr_db={layer.weight.removesuffix(".weight"): _finite(layer.snr_db) for layer in choice.sensitivity},
        evaluation_snr_db=None if choice.snr_db is None else _finite(choice.snr_db),
    )
    return CalibrationResult(choice.context, choice.in_float, choice.notes, record)


def read_images(plan: Plan, on_step: OnStep, on_note: OnNote) -> CalibrationImages:
    """Read the calibration images that ``plan`` chose.

    Args:
        on_note: called with a line of text for each image that was skipped.

    Raises:
        CalibrationError: the images are refused, or there are too few.
    """
    selection = plan.images.calibration
    assert selection is not None
    images = read_calibration_images(
        (*selection.files, *selection.fallback),
        selection.folder,
        plan.preprocessing,
        plan.input_spec.size,
        count=len(selection.files),
        on_image=lambda done: on_step("reading calibration images", done, len(selection.files)),
    )
    for skipped in images.skipped:
        on_note(f"skipped: {skipped}")
    _refuse_too_few(images, selection.folder, plan.options)
    return images


def _refuse_too_few(images: CalibrationImages, folder: Path, options: Options) -> None:
    if len(images) < (options.calibration.size or 0):
        raise CalibrationError(
            f"{folder} has {len(images)} readable images for calibration; {options.calibration.size} are needed "
            f"({len(images.skipped)} are unreadable: {'; '.join(images.skipped[:5])}).",
            hint="Add images, or reduce `calibration.size`.",
        )
    if options.quantize.accuracy_target and len(images) < 2:
        raise CalibrationError(
            f"`min_agreement` and `min_snr` take ranges from some calibration images and choose on others; {folder} "
            f"has {len(images)}.",
            hint="Add images.",
        )


def _finite(decibels: float) -> float | None:
    return decibels if math.isfinite(decibels) else None
