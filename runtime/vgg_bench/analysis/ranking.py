"""Which variants are worth using on this machine: ranks, and the Pareto front of size, latency and agreement."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from vgg_bench.results import BenchmarkCase, Estimate, Results, Row

__all__ = [
    "MIN_AGREEMENT",
    "NOISE",
    "NOT_WORTHWHILE",
    "SAME_SIZE",
    "Assessment",
    "Rank",
    "candidates",
    "describe_vs_baseline",
    "equally_fast",
    "preferred",
    "rank_results",
    "recommended",
]

# A smaller relative difference of latency is no reason to prefer a variant: timings on one machine repeat no better.
NOISE = 0.05

# A variant that agrees less often may be acceptable, but is not recommended unless asked for.
MIN_AGREEMENT = 0.98

# Files of one precision in two formats differ in size by less than this share: no reason to prefer either.
SAME_SIZE = 0.01

# The prefix of variants that run without PyTorch. All others are measured for comparison only.
DEPLOYABLE = "onnx-"

Rank = Literal["recommended", "acceptable", "not worthwhile"]

NOT_WORTHWHILE: Rank = "not worthwhile"


@dataclass(frozen=True)
class Assessment:
    """The verdict on a measured row.

    Attributes:
        rank: "recommended" for at most one row of a run.
        beaten_by: the fastest row at the same batch size and threads that is no worse in size, latency and agreement
            and better in at least one of them.
        why: size and latency against the baseline, in words.
    """

    rank: Rank
    beaten_by: BenchmarkCase | None
    why: str

    @property
    def on_front(self) -> bool:
        """Whether it is on the Pareto front of the worthwhile rows."""
        return self.beaten_by is None and self.rank != NOT_WORTHWHILE

    @property
    def label(self) -> str:
        """The rank; if that says little, the place on the Pareto front."""
        if self.rank != "acceptable":
            return self.rank
        return "on the front" if self.on_front else "dominated"


def rank_results(results: Results) -> dict[BenchmarkCase, Assessment]:
    """Return a verdict on every row that did not fail.

    Recommended is the fastest of the rows at the smallest batch size that run without PyTorch and agree with eager
    PyTorch; of equally fast ones the smallest. A variant of lower precision is not worthwhile if its ratio to the
    float32 baseline exceeds 1 by more than :data:`NOISE`, and the whole interval of that ratio is above 1.
    """
    measured = results.measured
    best = preferred(row for row in candidates(results) if _agreement(row) >= MIN_AGREEMENT)
    baselines = {row.subject.setting: row for row in measured if results.is_baseline(row)}
    return {
        row.subject: Assessment(
            rank="recommended" if row is best else NOT_WORTHWHILE if _is_not_worthwhile(row) else "acceptable",
            beaten_by=_beaten_by(row, measured),
            why=_why(row, baselines, best),
        )
        for row in measured
    }


def recommended(results: Results) -> BenchmarkCase | None:
    """Return the row to use if nothing else is required; None if no row can be deployed."""
    return next((subject for subject, verdict in rank_results(results).items() if verdict.rank == "recommended"), None)


def candidates(results: Results) -> list[Row]:
    """Return the rows that can be deployed: of the bundle, without PyTorch, at the smallest batch size.

    Ways to run CUDA that are not the default are measured for comparison only.
    """
    rows = [row for row in results.measured if row.subject.variant.startswith(DEPLOYABLE) and not row.subject.cuda_mode]
    smallest = min((row.subject.batch_size for row in rows), default=0)
    return [row for row in rows if row.subject.batch_size == smallest]


def preferred(rows: Iterable[Row]) -> Row | None:
    """Return the fastest of ``rows``; of equally fast ones the smallest, then the one that needs the least memory.

    None if there are none.
    """
    by_latency = sorted(rows, key=_latency)
    equal = [row for row in by_latency if equally_fast(row, by_latency[0])]
    return min(equal, key=lambda row: (row.bytes, row.memory.peak if row.memory else math.inf), default=None)


def equally_fast(row: Row, other: Row) -> bool:
    """Whether the intervals of the medians overlap, or the medians are within :data:`NOISE` of each other."""
    return _equal(_p50(row), _p50(other))


def describe_vs_baseline(baseline: str, *, size: float, latency: Estimate) -> str:
    """Return size and latency in units of those of ``baseline``, in words.

    It is faster or slower only if the interval does not contain 1, and "as fast" only if the whole interval is within
    twice :data:`NOISE` of 1; otherwise the two cannot be told apart.
    """
    share = f"{size:.{0 if size >= 0.01 else 1}%} of the size of {baseline}"
    if latency.interval is None:
        return f"{share}; too little was measured to compare the speed"
    if _equal(latency, _ONE):
        low, high = latency.interval
        near = low >= 1 / (1 + 2 * NOISE) and high <= 1 + 2 * NOISE
        return f"{share}, as fast here" if near else f"{share}; which is faster cannot be told here"
    if latency.value > 1:
        return f"{share}, but {latency.value:.1f} times slower here"
    return f"{share}, {1 / latency.value:.1f} times faster here"


def _p50(row: Row) -> Estimate:
    assert row.latency is not None  # failed rows were left out before
    return row.latency.p50


def _latency(row: Row) -> float:
    return _p50(row).value


def _equal(a: Estimate, b: Estimate) -> bool:
    return a.overlaps(b) or max(a.value, b.value) <= min(a.value, b.value) * (1 + NOISE)


def _agreement(row: Row) -> float:
    """The agreement with eager PyTorch; a variant that was not verified passes, as it did at export."""
    return 1.0 if row.quality.top1_agreement is None else row.quality.top1_agreement


def _agrees_more(row: Row, other: Row) -> bool:
    """Whether the agreement of ``row`` is known, and that of ``other`` is less or not known."""
    one, two = row.quality.top1_agreement, other.quality.top1_agreement
    return one is not None and (two is None or one > two)


def _is_not_worthwhile(row: Row) -> bool:
    lower_precision = not row.subject.variant.endswith("-fp32") and row.subject.engine != "pytorch"
    return lower_precision and row.ratio is not None and row.ratio.value > 1 and not _equal(row.ratio, _ONE)


_ONE = Estimate(1.0, 1.0, 1.0)


def _beaten_by(row: Row, measured: list[Row]) -> BenchmarkCase | None:
    rivals = [other for other in measured if other.subject.setting == row.subject.setting and _dominates(other, row)]
    return min(rivals, key=_latency).subject if rivals else None


def _dominates(row: Row, other: Row) -> bool:
    """Whether ``row`` is better than ``other`` in size, latency or agreement, and worse in none of them."""
    smaller, larger = (a.bytes * (1 + SAME_SIZE) < b.bytes for a, b in ((row, other), (other, row)))
    equal = equally_fast(row, other)
    faster, slower = (not equal and _latency(a) < _latency(b) for a, b in ((row, other), (other, row)))
    truer, falser = (_agrees_more(a, b) for a, b in ((row, other), (other, row)))
    return (smaller or faster or truer) and not (larger or slower or falser)


def _why(row: Row, baselines: Mapping[tuple[int, int], Row], best: Row | None) -> str:
    baseline = baselines.get(row.subject.setting)
    if baseline is row:
        return "the baseline; no other variant is better here" if row is best else "the baseline"
    if baseline is None or row.ratio is None:
        return "the baseline was not measured at this setting"
    return describe_vs_baseline(
        baseline.subject.variant,
        size=row.bytes / baseline.bytes,
        latency=row.ratio,
    )
