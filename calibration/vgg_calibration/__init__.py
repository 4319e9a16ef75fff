"""Calibration on real images, and quantizers of ONNX graphs.

Importing this package does not import onnx; the first use of a name below does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vgg_runtime._internal.lazy import lazy_names

if TYPE_CHECKING:
    from vgg_calibration.ranges.histogram import Range
    from vgg_calibration.ranges.methods import METHODS
    from vgg_calibration.targets import TARGETS

    __version__: str

__all__ = [
    "METHODS",
    "TARGETS",
    "Range",
    "__version__",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "METHODS": "vgg_calibration.ranges.methods",
        "TARGETS": "vgg_calibration.targets",
        "Range": "vgg_calibration.ranges.histogram",
    },
)
