"""Ranges of every activation of a model, from images or from the cache."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx

from vgg_calibration.activations import activation_names, collect_histograms
from vgg_calibration.calibration_images import CalibrationImages
from vgg_calibration.range_cache import load_ranges, store_ranges
from vgg_calibration.ranges import METHODS, Range
from vgg_runtime.backends.onnxruntime_backend import import_onnxruntime

__all__ = ["find_ranges"]


def find_ranges(
    file: Path,
    model_sha256: str,
    images: CalibrationImages,
    method: str,
    *,
    batch_size: int = 1,
    on_image: Callable[[int], None] = lambda _: None,
) -> dict[str, Range]:
    """Return the range of every activation by name, found by ``method`` (one of METHODS).

    Args:
        file: float ONNX model.
        model_sha256: digest over its files; ranges found before for the same model, images and method are reused.
        batch_size: images that the model takes at once.
        on_image: called with the number of images done.
    """
    key = {
        "model": model_sha256,
        "images": images.sha256,
        "preprocessing": repr(images.preprocessing),
        "method": method,
        "onnxruntime": import_onnxruntime().__version__,  # it computes the activations
    }
    names = set(activation_names(onnx.load(file, load_external_data=False)))
    if (stored := load_ranges(key)) is not None and stored.keys() == names:
        return stored
    histograms = collect_histograms(file, images.batches(batch_size), on_image=on_image)
    ranges = {name: METHODS[method](seen) for name, seen in histograms.items()}
    store_ranges(key, ranges)
    return ranges
