"""The least loss of information."""

from __future__ import annotations

import numpy as np

from vgg_calibration.ranges.clipping_search import best_clipping, levels_of
from vgg_calibration.ranges.histogram import Histogram, Range

__all__ = ["entropy"]


def entropy(seen: Histogram) -> Range:
    """Return the range that minimizes the Kullback-Leibler divergence of the quantized from the seen distribution.

    After S. Migacz, "8-bit Inference with TensorRT", GTC 2017: what is clipped counts as seen at the range's end, and
    each level's values are taken to be spread evenly over the bins of that level that were not empty. The bin at zero
    is left out: ReLU fills it with exact zeros, which every range keeps, and it would outweigh all the rest.
    """
    return best_clipping(seen, _cost)


def _cost(seen: Histogram, covered: Range) -> float:
    distance = np.abs(seen.centres)
    counts = np.where(distance == distance.min(), 0.0, seen.counts)
    # The outermost bins reach beyond what was seen; their values do not, and the widest range clips none of them.
    centres = np.clip(seen.centres, seen.low, seen.high)
    inside = (centres >= covered.low) & (centres <= covered.high)
    if not counts[inside].any():
        return float("inf")
    reference = counts[inside]
    reference[0] += counts[centres < covered.low].sum()
    reference[-1] += counts[centres > covered.high].sum()
    levels, _ = levels_of(centres[inside], covered)
    levels -= levels.min()
    filled = counts[inside] > 0
    per_level = np.bincount(levels, weights=counts[inside])
    bins = np.bincount(levels, weights=filled)
    spread = np.where(filled, per_level[levels] / np.maximum(bins[levels], 1), 0)
    seen_there = reference > 0
    p, q = reference / reference.sum(), spread / spread.sum()
    # A clipped bin that was empty itself has no counterpart: it counts as nearly impossible.
    return float(np.sum(p[seen_there] * np.log(p[seen_there] / np.maximum(q[seen_there], 1e-12))))
