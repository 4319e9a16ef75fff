"""Quantizers: one transformation of a float ONNX model per file, named for its effect.

Each is a :class:`Quantizer`: it takes the model and a :class:`QuantizationContext`, changes the model in place, and
returns the names of the nodes that it quantized. Some have further options, bound with ``functools.partial``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from vgg_calibration.targets import ANY_CPU, TARGETS, Target

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray

    from vgg_calibration.ranges.methods import Range

__all__ = ["QuantizationContext", "Quantizer"]


@dataclass(frozen=True)
class QuantizationContext:
    """What a quantizer may need to know besides the model.

    Attributes:
        target: the CPU or GPU that the variant is built for.
        ranges: range of every float activation, by name; empty without calibration.
        in_float: names of nodes that stay in float.
        weights: weights to quantize instead of the model's own, by name; empty without compensation.
    """

    target: Target = TARGETS[ANY_CPU]
    ranges: Mapping[str, Range] = field(default_factory=dict)
    in_float: frozenset[str] = frozenset()
    weights: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)


class Quantizer(Protocol):
    """One transformation of a float model."""

    def __call__(self, model: onnx.ModelProto, context: QuantizationContext) -> list[str]:
        """Change ``model`` in place; return the names of the layers that now have 8-bit weights."""
