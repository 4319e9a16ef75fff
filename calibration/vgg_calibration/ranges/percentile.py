"""All but the rarest values."""

from __future__ import annotations

import numpy as np

from vgg_calibration.ranges.histogram import Histogram, Range

__all__ = ["percentile"]

KEPT = 0.9999


def percentile(seen: Histogram, *, kept: float = KEPT) -> Range:
    """Return the range that leaves out the rarest values: the share ``1 - kept``, half of it on each side."""
    if not len(seen.counts):
        return Range(seen.low, seen.high)
    share = np.cumsum(seen.counts) / seen.counts.sum()
    outside = (1 - kept) / 2
    first = int(np.searchsorted(share, outside, side="right"))
    last = min(int(np.searchsorted(share, 1 - outside)), len(share) - 1)
    half = (seen.centres[1] - seen.centres[0]) / 2 if len(share) > 1 else seen.high
    low, high = seen.centres[first] - half, seen.centres[last] + half
    return Range(max(seen.low, min(0.0, float(low))), min(seen.high, max(0.0, float(high))))
