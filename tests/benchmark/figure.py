"""One line of ``make bench``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Figure:
    """One measured ratio.

    Attributes:
        low, high: its spread over the rounds, or the value twice where it was measured once.
    """

    what: str
    value: float
    bound: str
    low: float
    high: float

    @classmethod
    def of_rounds(cls, what: str, ratios: Sequence[float], bound: str) -> Figure:
        return cls(what, median(ratios), bound, min(ratios), max(ratios))

    def line(self) -> str:
        spread = "" if self.low == self.high else f"  ({self.low:.3f} to {self.high:.3f})"
        return f"{self.what:<72} {self.value:8.3f}  {self.bound}{spread}"
