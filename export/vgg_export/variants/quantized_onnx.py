"""The float ONNX variant taken through single quantizers, for trials of a precision."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vgg_calibration import precisions
from vgg_calibration.precisions import Precision, QuantizedFile
from vgg_calibration.quantizers.base import QuantizationContext, Quantizer

__all__ = ["write_quantized"]


def write_quantized(
    source: Path, file: Path, quantizers: Sequence[Quantizer], context: QuantizationContext, *, single_file: bool
) -> QuantizedFile:
    """Take the float model in ``source`` through ``quantizers``, and write it to ``file``.

    Raises:
        CalibrationError: the quantizers found nothing to quantize.
    """
    return precisions.write_quantized(
        source, file, Precision("trial", tuple(quantizers)), context, single_file=single_file
    )
