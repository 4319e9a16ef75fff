"""Everything that was seen."""

from __future__ import annotations

from vgg_calibration.ranges.histogram import Histogram, Range

__all__ = ["minmax"]


def minmax(seen: Histogram) -> Range:
    """Return the range from the least to the greatest value: nothing is clipped, and one outlier costs resolution."""
    return Range(seen.low, seen.high)
