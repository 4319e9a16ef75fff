"""Every method against the answer that is known, or found by trying all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vgg_calibration.ranges.methods import DEFAULT_METHOD, FACTORS, LEVELS, METHODS, Histogram, Range, percentile


def histogram_of(*chunks: np.ndarray) -> Histogram:
    histogram = Histogram()
    for chunk in chunks:
        histogram.add(np.asarray(chunk, np.float32))
    return histogram


def quantized(values: np.ndarray, clipping: Range) -> np.ndarray:
    """What 8 bits make of ``values``, as ONNX defines QuantizeLinear and DequantizeLinear."""
    scale = (clipping.high - clipping.low) / (LEVELS - 1)
    zero_point = round(-clipping.low / scale)
    levels = np.clip(np.rint(values / scale) + zero_point, 0, LEVELS - 1)
    return (levels - zero_point) * scale


def error_of(values: np.ndarray, clipping: Range) -> float:
    return float(np.mean((quantized(values, clipping) - values) ** 2))


RANDOM = np.random.default_rng(0)
SAMPLES = {
    "normal": RANDOM.standard_normal(50_000),
    "heavy tails": RANDOM.standard_t(3, 50_000),
    "relu": np.maximum(RANDOM.standard_normal(50_000) - 1, 0),
    "uniform": RANDOM.uniform(-1, 3, 50_000),
    "one outlier": np.append(RANDOM.standard_normal(50_000), 100),
    "negative": -RANDOM.exponential(1, 50_000),
}


def test_the_default_is_one_of_them() -> None:
    assert DEFAULT_METHOD in METHODS


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("zeros", [[], [0.0, 0.0]])
def test_nothing_but_zeros_has_the_range_of_zero(method: str, zeros: list[float]) -> None:
    assert METHODS[method](histogram_of(zeros) if zeros else Histogram()) == Range(0, 0)


@pytest.mark.parametrize("method", METHODS)
@given(
    chunks=st.lists(
        arrays(np.float32, st.integers(1, 40), elements=st.floats(-1e6, 1e6, width=32)), min_size=1, max_size=3
    )
)
def test_a_range_holds_zero_and_lies_inside_what_was_seen(method: str, chunks: list[np.ndarray]) -> None:
    values = np.concatenate(chunks)
    range_ = METHODS[method](histogram_of(*chunks))
    assert min(0, values.min()) <= range_.low <= 0 <= range_.high <= max(0, values.max())


@pytest.mark.parametrize("name", SAMPLES)
def test_minmax_is_numpys(name: str) -> None:
    values = SAMPLES[name].astype(np.float32)
    assert METHODS["minmax"](histogram_of(values)) == Range(min(0, values.min()), max(0, values.max()))


@pytest.mark.parametrize("kept_share", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("name", ["normal", "uniform", "heavy tails"])
def test_percentile_is_numpys_quantile_to_the_width_of_a_bin(name: str, kept_share: float) -> None:
    values = SAMPLES[name].astype(np.float32)
    histogram = histogram_of(values)
    range_ = percentile(histogram, kept_share=kept_share)
    bin_width = 1.01 * (histogram.centres[1] - histogram.centres[0])
    low, high = np.quantile(values, [(1 - kept_share) / 2, (1 + kept_share) / 2])
    assert range_.low == pytest.approx(min(0, low), abs=bin_width)
    assert range_.high == pytest.approx(high, abs=bin_width)


def test_percentile_drops_an_outlier_and_minmax_does_not() -> None:
    histogram = histogram_of(SAMPLES["one outlier"])
    assert percentile(histogram).high < 6
    assert METHODS["minmax"](histogram).high == 100


@pytest.mark.parametrize("name", SAMPLES)
def test_mse_finds_the_best_of_all_factors(name: str) -> None:
    values = SAMPLES[name].astype(np.float32).astype(np.float64)
    range_ = METHODS["mse"](histogram_of(values))
    low, high = min(0, values.min()), max(0, values.max())
    min_error = min(error_of(values, Range(low * factor, high * factor)) for factor in FACTORS.tolist())
    assert error_of(values, range_) <= min_error * 1.01
    assert range_.low * high == pytest.approx(range_.high * low)


def test_mse_keeps_uniform_values_and_clips_heavy_tails() -> None:
    uniform, heavy = (histogram_of(SAMPLES[name]) for name in ("uniform", "heavy tails"))
    assert METHODS["mse"](uniform) == Range(uniform.low, uniform.high)
    assert METHODS["mse"](heavy).high < 0.95 * heavy.high


def test_entropy_keeps_the_whole_of_a_uniform_distribution() -> None:
    histogram = histogram_of(SAMPLES["uniform"])
    assert METHODS["entropy"](histogram).high >= 0.95 * histogram.high


def test_entropy_leaves_out_what_is_rare_and_far() -> None:
    histogram = histogram_of(SAMPLES["normal"], [-20, 20])
    assert 4 < METHODS["entropy"](histogram).high < 6


def test_entropy_does_not_count_relus_zeros() -> None:
    """However many they are, the rest decides: a million zeros change nothing."""
    positive = np.abs(SAMPLES["normal"]) + 0.01
    bare, sparse = histogram_of(positive), histogram_of(np.zeros(1_000_000), positive)
    assert METHODS["entropy"](sparse) == METHODS["entropy"](bare)


def test_entropy_of_two_values_clips_neither() -> None:
    """The greater one lies at the end of the widest range, not beyond it."""
    assert METHODS["entropy"](histogram_of(np.repeat([1.0, 2.0], 50))) == Range(0, 2)
