"""Statistics of latencies, each with its 95 % confidence interval.

Calls of one round share the state of the machine, so they are not independent samples. The bootstrap is therefore
hierarchical: it draws rounds, then calls within each. Percentile intervals of few rounds are too narrow; they are
widened as Hesterberg's expanded percentile interval (The American Statistician 69 (2015), 371-386).

A bootstrap never leaves the span of the measurements, and with n < 6 rounds even that span holds the true median less
than 95 % of the time (1 - 2^(1 - n)). The interval is then Student's, on the logarithms of the rounds' figures. One
round says nothing about how rounds differ, so it has no interval.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from vgg_bench.analysis._scipy import import_scipy_stats
from vgg_bench.results import Estimate, Latency

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Rounds", "latency", "median_of", "noise", "ratio"]

# Latencies in seconds, one sequence per round.
Rounds = Sequence[Sequence[float]]

# From calls (calls,) to figures (figures,).
Statistics = Callable[["NDArray[np.float64]"], "NDArray[np.float64]"]

RESAMPLES = 1000

# With this many rounds their span holds the true median 95 % of the time; with fewer, a bootstrap is overconfident.
ROUNDS_FOR_BOOTSTRAP = 6

# Of this many calls one is expected beyond the 99th percentile.
CALLS_FOR_P99 = 100


def latency(rounds: Rounds, batch_size: int, copies: Sequence[float] = ()) -> Latency:
    """Return the statistics of one subject's calls.

    Args:
        rounds: of at least one call each.
        batch_size: images per call.
        copies: seconds that copying to and from the device took, one per round; none on the CPU.
    """
    names = ("p50", "p90", "p99", "minimum", "mean")
    estimates = dict(zip(names, _estimates(rounds, _figures), strict=True))
    milliseconds = {name: _scaled(estimate, 1e3) for name, estimate in estimates.items()}
    p99 = milliseconds.pop("p99")
    return Latency(
        **milliseconds,
        p99=p99 if sum(map(len, rounds)) >= CALLS_FOR_P99 else None,
        images_per_second=_throughput(estimates["mean"], batch_size),
        copies=_scaled(median_of(copies), 1e3) if copies else None,
    )


def ratio(rounds: Rounds, baseline: Rounds) -> Estimate:
    """Return the latency in units of the baseline's: the median over rounds of the ratio of both medians in a round.

    A drift of the machine between rounds cancels out. Rounds that only one of the two took part in are left out.
    """
    pairs = list(zip(rounds, baseline, strict=False))
    generator = np.random.default_rng(0)
    # One row per resample of the calls, one column per round.
    ratios = np.stack([_medians(ours, generator) / _medians(theirs, generator) for ours, theirs in pairs], axis=1)
    drawn = np.take_along_axis(ratios, generator.integers(len(pairs), size=ratios.shape), axis=1)
    by_round = np.array([np.median(ours) / np.median(theirs) for ours, theirs in pairs])
    return _with_interval(float(np.median(by_round)), np.median(drawn, axis=1), by_round)


def noise(rounds: Rounds, again: Rounds) -> float:
    """Return the relative difference of two measurements of the same thing in a round: the median over rounds."""
    ratios = [float(np.median(b) / np.median(a)) for a, b in zip(rounds, again, strict=False)]
    return float(np.median(np.abs(np.array(ratios) - 1)))


def median_of(values: Sequence[float]) -> Estimate:
    """Return the median of independent measurements, such as starts of a process."""
    (estimate,) = _estimates([[value] for value in values], lambda drawn: np.array([np.median(drawn)]))
    return estimate


def _estimates(rounds: Rounds, statistics: Statistics) -> list[Estimate]:
    """Return an estimate of each figure that ``statistics`` gives."""
    generator = np.random.default_rng(0)
    calls = [np.asarray(item, np.float64) for item in rounds]
    values = statistics(np.concatenate(calls))
    by_round = np.stack([statistics(item) for item in calls])
    resamples = RESAMPLES if len(calls) >= ROUNDS_FOR_BOOTSTRAP else 1  # Student's interval needs none
    resampled = np.stack([statistics(_resample(calls, generator)) for _ in range(resamples)])
    return [
        _with_interval(float(value), drawn, of_rounds)
        for value, drawn, of_rounds in zip(values, resampled.T, by_round.T, strict=True)
    ]


def _figures(calls: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([*np.percentile(calls, (50, 90, 99)), calls.min(), calls.mean()])


def _resample(calls: Sequence[NDArray[np.float64]], generator: np.random.Generator) -> NDArray[np.float64]:
    sample = [calls[i] for i in generator.integers(len(calls), size=len(calls))]
    return np.concatenate([calls[generator.integers(len(calls), size=len(calls))] for calls in sample])


def _medians(calls: Sequence[float], generator: np.random.Generator) -> NDArray[np.float64]:
    """Return the median of each resample of one round."""
    values = np.asarray(calls, np.float64)
    medians: NDArray[np.float64] = np.median(
        values[generator.integers(len(values), size=(RESAMPLES, len(values)))], axis=1
    )
    return medians


def _with_interval(value: float, resampled: NDArray[np.float64], by_round: NDArray[np.float64]) -> Estimate:
    if len(by_round) < 2:
        return Estimate(value, None, None)
    low, high = _student(by_round) if len(by_round) < ROUNDS_FOR_BOOTSTRAP else _expanded(resampled, len(by_round))
    # The interval of a skewed sample may just miss the value, as that of a minimum does.
    return Estimate(value, min(low, value), max(high, value))


def _student(by_round: NDArray[np.float64]) -> tuple[float, float]:
    """Student's interval of the mean logarithm of positive figures, one per round."""
    if np.ptp(by_round) == 0:
        return float(by_round[0]), float(by_round[0])
    logarithms = np.log(by_round)
    t = import_scipy_stats().t.ppf(0.975, len(by_round) - 1)
    half = t * logarithms.std(ddof=1) / len(by_round) ** 0.5
    return float(np.exp(logarithms.mean() - half)), float(np.exp(logarithms.mean() + half))


def _expanded(resampled: NDArray[np.float64], rounds: int) -> tuple[float, float]:
    """The percentile interval, which cuts off less than 2.5 % of the resamples at each end if rounds are few."""
    stats = import_scipy_stats()
    tail = stats.norm.cdf(-stats.t.ppf(0.975, rounds - 1) * (rounds / (rounds - 1)) ** 0.5)
    low, high = np.quantile(resampled, (tail, 1 - tail))
    return float(low), float(high)


def _throughput(mean: Estimate, batch_size: int) -> Estimate:
    """Images per second at a mean latency in seconds."""
    low, high = mean.interval or (None, None)
    return Estimate(batch_size / mean.value, high and batch_size / high, low and batch_size / low)


def _scaled(estimate: Estimate, factor: float) -> Estimate:
    low, high = estimate.interval or (None, None)
    return Estimate(estimate.value * factor, low and low * factor, high and high * factor)
