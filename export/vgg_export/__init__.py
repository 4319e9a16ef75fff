"""Export a trained checkpoint to a verified bundle.

Importing this package does not import torch; the first use of a name below does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vgg_runtime._internal.lazy import lazy_names

if TYPE_CHECKING:
    from vgg_export.pipeline import export
    from vgg_export.planning.options import (
        CalibrationOptions,
        CompressionOptions,
        ModelOptions,
        OnnxOptions,
        Quantization,
        SampleOptions,
    )

    __version__: str

__all__ = [
    "CalibrationOptions",
    "CompressionOptions",
    "ModelOptions",
    "OnnxOptions",
    "Quantization",
    "SampleOptions",
    "__version__",
    "export",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "CalibrationOptions": "vgg_export.planning.options",
        "CompressionOptions": "vgg_export.planning.options",
        "ModelOptions": "vgg_export.planning.options",
        "OnnxOptions": "vgg_export.planning.options",
        "Quantization": "vgg_export.planning.options",
        "SampleOptions": "vgg_export.planning.options",
        "export": "vgg_export.pipeline",
    },
)
