"""Calibration on real images, and quantizers of ONNX graphs.

Importing this package does not import onnx; the first use of a name below does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vgg_runtime._internal.lazy import lazy_names

if TYPE_CHECKING:
    from vgg_calibration.api import compute_ranges, measure_sensitivity, quantize
    from vgg_calibration.precisions import PRECISIONS, QuantizedFile
    from vgg_calibration.ranges.histogram import Range
    from vgg_calibration.ranges.methods import METHODS
    from vgg_calibration.statistics.sensitivity import LayerSensitivity
    from vgg_calibration.targets import TARGETS

    __version__: str

__all__ = [
    "METHODS",
    "PRECISIONS",
    "TARGETS",
    "LayerSensitivity",
    "QuantizedFile",
    "Range",
    "__version__",
    "compute_ranges",
    "measure_sensitivity",
    "quantize",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "METHODS": "vgg_calibration.ranges.methods",
        "PRECISIONS": "vgg_calibration.precisions",
        "TARGETS": "vgg_calibration.targets",
        "LayerSensitivity": "vgg_calibration.statistics.sensitivity",
        "QuantizedFile": "vgg_calibration.precisions",
        "Range": "vgg_calibration.ranges.histogram",
        "compute_ranges": "vgg_calibration.api",
        "measure_sensitivity": "vgg_calibration.api",
        "quantize": "vgg_calibration.api",
    },
)
