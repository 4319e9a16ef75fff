from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from vgg_calibration.ranges.histogram import MAX_BINS, Histogram, Range

CHUNKS = st.lists(
    arrays(np.float32, array_shapes(max_dims=2, max_side=20), elements=st.floats(-(2.0**100), 2.0**100, width=32)),
    min_size=1,
    max_size=5,
)


def histogram_of(*chunks: np.ndarray) -> Histogram:
    histogram = Histogram()
    for chunk in chunks:
        histogram.add(np.asarray(chunk, np.float32))
    return histogram


def width_of(histogram: Histogram) -> float:
    centres = histogram.centres
    # A lone bin is the one that begins at zero: subnormal numbers lie in the first of the least width.
    return float(centres[1] - centres[0]) if len(centres) > 1 else 2 * float(centres[0])


def edges_of(histogram: Histogram) -> np.ndarray:
    width = width_of(histogram)
    return np.append(histogram.centres - width / 2, histogram.centres[-1] + width / 2)


@pytest.mark.parametrize("scale", [1e-20, 1e-3, 1, 1e20])
@pytest.mark.parametrize("growth", [1, 1.5, 40, 1e6])
def test_counts_are_numpys_after_any_growth(scale: float, growth: float) -> None:
    random = np.random.default_rng(0)
    chunks = [(random.standard_normal(1000) * scale * growth**i).astype(np.float32) for i in range(3)]
    histogram = histogram_of(*chunks)
    values = np.concatenate(chunks)
    expected, _ = np.histogram(values.astype(np.float64), edges_of(histogram))
    # A value within float32's rounding of an edge may fall on either side of it.
    assert np.abs(np.cumsum(histogram.counts) - np.cumsum(expected)).max() <= 2
    assert histogram.counts.sum() == 3000
    assert (histogram.low, histogram.high) == (values.min(), values.max())


def test_bins_are_fine_and_few() -> None:
    values = np.random.default_rng(0).standard_normal(10_000).astype(np.float32)
    histogram = histogram_of(values * 1e-3, values, values * 2.9)
    assert MAX_BINS / 3 < len(histogram.counts) <= MAX_BINS + 1
    assert width_of(histogram) <= (histogram.high - histogram.low) / (MAX_BINS / 2 - 2)


def test_histogram_has_an_edge_at_zero() -> None:
    histogram = histogram_of([-0.01, -0.02, 0, 0, 0, 3], [-50, 0, 70])
    at_zero = int(np.argmin(np.abs(edges_of(histogram))))
    assert edges_of(histogram)[at_zero] == pytest.approx(0, abs=width_of(histogram) * 1e-9)
    assert histogram.counts[:at_zero].sum() == 3
    assert histogram.counts[at_zero] == 4


@pytest.mark.parametrize("constant", [0.0, 5.0, -5.0, 1e-45, 3e38])
def test_a_constant(constant: float) -> None:
    histogram = histogram_of(np.full((3, 4), constant))
    assert (histogram.low, histogram.high) == (min(0, np.float32(constant)), max(0, np.float32(constant)))
    assert histogram.counts.sum() == (12 if constant else 0)


def test_zeros_are_counted_whether_they_come_first_or_last() -> None:
    zeros, others = np.zeros(7), np.array([-1.0, 2.0])
    first, last = histogram_of(zeros, others), histogram_of(others, zeros)
    np.testing.assert_array_equal(first.counts, last.counts)
    np.testing.assert_array_equal(first.centres, last.centres)
    assert first.counts.sum() == 9


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        histogram_of([1.0, bad])


@given(CHUNKS)
@example([np.array([2.5595e-40], np.float32)])
def test_no_value_is_lost_and_none_is_far_from_its_bin(chunks: list[np.ndarray]) -> None:
    histogram = histogram_of(*chunks)
    values = np.sort(np.concatenate([chunk.ravel() for chunk in chunks]).astype(np.float64))
    assert (histogram.low, histogram.high) == (min(0, values[0]), max(0, values[-1]))
    if histogram.low == histogram.high:
        return
    assert histogram.counts.sum() == len(values)
    assert len(histogram.counts) <= MAX_BINS + 1
    stands_for = np.repeat(histogram.centres, histogram.counts)
    assert np.abs(stands_for - values).max() <= width_of(histogram) * 0.51


@pytest.mark.parametrize(
    ("low", "high"), [(0.1, 1), (-1, -0.1), (1, -1), (math.nan, 1), (-1, math.nan), (-math.inf, 0), (0, math.inf)]
)
def test_a_range_holds_zero_and_is_finite(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="must be finite and contain 0"):
        Range(low, high)
