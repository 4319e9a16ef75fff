"""The least mean squared error of the quantized values."""

from __future__ import annotations

import numpy as np

from vgg_calibration.ranges.clipping_search import best_clipping, levels_of
from vgg_calibration.ranges.histogram import Histogram, Range

__all__ = ["mean_squared_error"]


def mean_squared_error(seen: Histogram) -> Range:
    """Return the range that minimizes the mean of (quantized - value)^2, clipping error and rounding error alike."""
    return best_clipping(seen, _cost)


def _cost(seen: Histogram, covered: Range) -> float:
    levels, step = levels_of(seen.centres, covered)
    return float(np.dot(seen.counts, (levels * step - seen.centres) ** 2))
