"""One line of ``make bench``."""

from __future__ import annotations

from dataclasses import dataclass


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

    def line(self) -> str:
        spread = "" if self.low == self.high else f"  ({self.low:.3f} to {self.high:.3f})"
        return f"{self.what:<72} {self.value:8.3f}  {self.bound}{spread}"
