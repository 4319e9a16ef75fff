"""What of a row is compared between two runs, and when it differs beyond noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vgg_runtime.benchmark.columns import figure, interval
from vgg_runtime.benchmark.results import Estimate, Row, Subject
from vgg_runtime.benchmark.verdict import NOISE, SAME_SIZE

__all__ = ["COLD_START", "EQUAL", "LATENCY", "QUANTITIES", "Difference", "Quantity"]

EQUAL = "equal"


@dataclass(frozen=True)
class Quantity:
    """Something that both runs measured of a row.

    Attributes:
        least: a change within this share is none, however narrow the intervals are.
        more, less: what a row is that has become more, or less.
        timed: whether the noise of the runs is its noise too.
    """

    name: str
    unit: str
    of: Callable[[Row], Estimate | float | None]
    least: float
    more: str
    less: str
    timed: bool = False

    def estimate(self, row: Row) -> Estimate | None:
        """Return the value in ``row``; one without an interval is its own."""
        value = self.of(row)
        return Estimate(value, value, value) if isinstance(value, int | float) else value

    def verdict(self, before: Row, after: Row, noise: float) -> str:
        """Return in which way ``after`` differs by more than ``noise`` and beyond the intervals, or "equal"."""
        a, b = self.estimate(before), self.estimate(after)
        if a is None or b is None or not _apart(a, b, max(self.least, noise) if self.timed else self.least):
            return EQUAL
        return self.more if b.value > a.value else self.less


LATENCY = Quantity(
    "latency", "ms", lambda row: row.latency.p50 if row.latency else None, NOISE, "slower", "faster", timed=True
)

# A process starts, and takes memory, less evenly than it computes.
COLD_START = Quantity(
    "cold start", "s", lambda row: row.cold_start_s, 0.2, "slower to start", "faster to start", timed=True
)

QUANTITIES: tuple[Quantity, ...] = (
    LATENCY,
    COLD_START,
    Quantity("peak memory", "MB", lambda row: row.memory.peak if row.memory else None, 0.2, "more", "less"),
    Quantity("size", "MB", lambda row: row.bytes / 1e6, SAME_SIZE, "larger", "smaller"),
    Quantity("agreement", "", lambda row: row.quality.top1_agreement, 0.0, "agrees more", "agrees less"),
    Quantity("accuracy", "", lambda row: row.quality.accuracy, 0.0, "more accurate", "less accurate"),
)


@dataclass(frozen=True)
class Difference:
    """A quantity of one row in both runs.

    Attributes:
        verdict: "equal", or in which way the second run differs beyond noise.
    """

    subject: Subject
    quantity: str
    unit: str
    before: Estimate
    after: Estimate
    verdict: str

    @classmethod
    def of(cls, before: Row, after: Row, quantity: Quantity, noise: float, *, by_ratio: bool) -> Difference | None:
        """Return how ``quantity`` differs, None where a row has none.

        Args:
            by_ratio: a latency counts as equal where its ratio to the baseline is.
        """
        a, b = quantity.estimate(before), quantity.estimate(after)
        if a is None or b is None:
            return None
        verdict = quantity.verdict(before, after, noise)
        if quantity is LATENCY and by_ratio and _same_ratio(before, after, noise):
            verdict = EQUAL
        return cls(before.subject, quantity.name, quantity.unit, a, b, verdict)

    def __str__(self) -> str:
        change = f"{self.quantity} {interval(self.before)} -> {interval(self.after)} {self.unit}".rstrip()
        factor = f", {figure(self.after.value / self.before.value)} times" if self.before.value else ""
        return f"{change}: {self.verdict}{factor}"


def _apart(a: Estimate, b: Estimate, least: float) -> bool:
    return not a.overlaps(b) and max(a.value, b.value) > min(a.value, b.value) * (1 + least)


def _same_ratio(before: Row, after: Row, noise: float) -> bool:
    return before.ratio is not None and after.ratio is not None and not _apart(before.ratio, after.ratio, noise)
