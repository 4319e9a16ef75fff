"""Statistics of latencies, each with its 95 % bootstrap confidence interval.

Calls of one round have the state of the machine in common, so they are no independent samples. The bootstrap is
therefore hierarchical: it draws rounds, then calls within each. Percentile intervals of few rounds are too narrow;
they are widened as Hesterberg's expanded percentile interval (The American Statistician 69 (2015), 371-386).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from vgg_runtime.benchmark.results import Estimate, Latency

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Rounds", "latency", "median_of", "noise", "ratio"]

# Latencies in seconds, one sequence per round.
Rounds = Sequence[Sequence[float]]

# From calls (calls,) to figures (figures,).
Statistics = Callable[["NDArray[np.float64]"], "NDArray[np.float64]"]

RESAMPLES = 1000

# Student's t for 97.5 % by degrees of freedom, from 1 on; beyond the table the normal distribution's 1.96 is near.
STUDENT_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)


def latency(rounds: Rounds, batch_size: int, copies: Sequence[float] = ()) -> Latency:
    """Return the statistics of one subject's calls.

    Args:
        rounds: of at least one call each.
        batch_size: images per call.
        copies: seconds that copying to and from the device took, one per round; none on the CPU.
    """
    names = ("p50", "p90", "p99", "minimum", "mean")
    found = dict(zip(names, _estimates(rounds, _figures), strict=True))
    milliseconds = {name: _scaled(each, 1e3) for name, each in found.items()}
    mean = found["mean"]
    throughput = Estimate(batch_size / mean.value, batch_size / mean.high, batch_size / mean.low)
    return Latency(
        **milliseconds,
        images_per_second=throughput,
        copies=_scaled(median_of(copies), 1e3) if copies else None,
    )


def ratio(rounds: Rounds, baseline: Rounds) -> Estimate:
    """Return the latency in units of the baseline's: the median over rounds of the ratio of both medians in a round.

    A drift of the machine between rounds cancels out. Rounds that only one of the two has are left out.
    """
    pairs = list(zip(rounds, baseline, strict=False))
    generator = np.random.default_rng(0)
    # One row per resample of the calls, one column per round.
    ratios = np.stack([_medians(ours, generator) / _medians(theirs, generator) for ours, theirs in pairs], axis=1)
    drawn = np.take_along_axis(ratios, generator.integers(len(pairs), size=ratios.shape), axis=1)
    value = float(np.median([np.median(ours) / np.median(theirs) for ours, theirs in pairs]))
    return _with_interval(value, np.median(drawn, axis=1), len(pairs))


def noise(rounds: Rounds, again: Rounds) -> float:
    """Return by what share two measurements of the same thing differ in a round: the median over rounds."""
    ratios = [float(np.median(b) / np.median(a)) for a, b in zip(rounds, again, strict=False)]
    return float(np.median(np.abs(np.array(ratios) - 1)))


def median_of(values: Sequence[float]) -> Estimate:
    """Return the median of independent measurements, such as starts of a process."""
    (found,) = _estimates([[value] for value in values], lambda drawn: np.array([np.median(drawn)]))
    return found


def _estimates(rounds: Rounds, statistics: Statistics) -> list[Estimate]:
    """Return an estimate of each figure that ``statistics`` gives."""
    generator = np.random.default_rng(0)
    calls = [np.asarray(each, np.float64) for each in rounds]
    values = statistics(np.concatenate(calls))
    resampled = np.stack([statistics(_resample(calls, generator)) for _ in range(RESAMPLES)])
    return [_with_interval(float(value), column, len(calls)) for value, column in zip(values, resampled.T, strict=True)]


def _figures(calls: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([*np.percentile(calls, (50, 90, 99)), calls.min(), calls.mean()])


def _resample(calls: Sequence[NDArray[np.float64]], generator: np.random.Generator) -> NDArray[np.float64]:
    chosen = [calls[i] for i in generator.integers(len(calls), size=len(calls))]
    return np.concatenate([each[generator.integers(len(each), size=len(each))] for each in chosen])


def _medians(calls: Sequence[float], generator: np.random.Generator) -> NDArray[np.float64]:
    """Return the median of each resample of one round."""
    values = np.asarray(calls, np.float64)
    medians: NDArray[np.float64] = np.median(
        values[generator.integers(len(values), size=(RESAMPLES, len(values)))], axis=1
    )
    return medians


def _with_interval(value: float, resampled: NDArray[np.float64], rounds: int) -> Estimate:
    tail = _tail(rounds)
    low, high = np.quantile(resampled, (tail, 1 - tail))
    # Of a skewed sample the interval may miss the value by a hair, as that of a minimum does.
    return Estimate(value, min(float(low), value), max(float(high), value))


def _tail(rounds: int) -> float:
    """The share of resamples to cut off at each end: less than 2.5 % where there are few rounds."""
    if rounds < 2:
        return 0.025  # nothing tells how rounds differ; the interval is of the calls alone
    t = STUDENT_T[rounds - 2] if rounds - 2 < len(STUDENT_T) else NormalDist().inv_cdf(0.975)
    return NormalDist().cdf(-t * (rounds / (rounds - 1)) ** 0.5)


def _scaled(found: Estimate, factor: float) -> Estimate:
    return Estimate(found.value * factor, found.low * factor, found.high * factor)
