"""The search that the entropy and the mean-squared-error method share: how far to shrink the range."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from vgg_calibration.ranges.histogram import Histogram, Range

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["LEVELS", "best_clipping", "levels_of"]

LEVELS = 256

# Both ends shrink by the same factor; 1 % steps are finer than the costs can tell apart.
FACTORS = np.linspace(1.0, 0.2, 81)

Cost = Callable[[Histogram, Range], float]


def best_clipping(seen: Histogram, cost: Cost) -> Range:
    """Return the range ``factor * (low, high)`` of the least ``cost``; the widest of equal ones."""
    if not len(seen.counts):
        return Range(seen.low, seen.high)
    candidates = [Range(seen.low * factor, seen.high * factor) for factor in FACTORS.tolist()]
    return min(candidates, key=lambda candidate: cost(seen, candidate))


def levels_of(values: NDArray[np.float64], covered: Range) -> tuple[NDArray[np.int64], float]:
    """Return the 8-bit level of each value, int64 counted from the one of zero, and the step between levels."""
    step = (covered.high - covered.low) / (LEVELS - 1)
    zero = round(-covered.low / step)
    return np.clip(np.rint(values / step), -zero, LEVELS - 1 - zero).astype(np.int64), step
