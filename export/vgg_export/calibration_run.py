"""Calibration as a step of the export: images, ranges, and the record of both for the manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from vgg_calibration.calibration_images import read_calibration_images
from vgg_calibration.find_ranges import find_ranges
from vgg_calibration.ranges import Range
from vgg_export.image_split import Chosen
from vgg_runtime.manifest import Calibration
from vgg_runtime.preprocessing import Preprocessing

__all__ = ["calibrate"]


def calibrate(
    float_onnx: Path,
    model_digests: dict[str, str],
    chosen: Chosen,
    preprocessing: Preprocessing,
    method: str,
    *,
    batch_size: int,
    on_step: Callable[[str], None],
) -> tuple[dict[str, Range], Calibration]:
    """Run the float model over the chosen images and return the range of every activation, and the record.

    Args:
        model_digests: SHA-256 of each file of the model.
        batch_size: images that the model takes at once.
    """
    images = read_calibration_images(
        chosen.files,
        chosen.folder,
        preprocessing,
        on_image=lambda done: on_step(f"reading calibration images: {done} of {len(chosen.files)}"),
    )
    ranges = find_ranges(
        float_onnx,
        hashlib.sha256("".join(sorted(model_digests.values())).encode()).hexdigest(),
        images,
        method,
        batch_size=batch_size,
        on_image=lambda done: on_step(f"calibrating by {method}: {min(done, len(images))} of {len(images)} images"),
    )
    record = Calibration(
        method=method,
        images=images.names,
        skipped=images.skipped,
        sha256=images.sha256,
        ranges={name: (found.low, found.high) for name, found in ranges.items()},
    )
    return ranges, record
