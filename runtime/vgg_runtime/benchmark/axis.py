"""Where a value lies on a drawing, in percent of its width or height."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Axis"]

# From a spread of this many times on, a linear axis presses the smaller values together.
LOGARITHMIC_FROM = 5.0


@dataclass(frozen=True)
class Axis:
    """A linear or logarithmic scale from ``low`` to ``high``."""

    low: float
    high: float
    logarithmic: bool = False

    @classmethod
    def from_zero(cls, values: Iterable[float]) -> Axis:
        """Return a linear scale for lengths of bars."""
        return cls(0.0, max(values, default=0.0) * 1.02 or 1.0)

    @classmethod
    def around(cls, values: Iterable[float], *, margin: float = 0.08) -> Axis:
        """Return a scale for positions, with ``margin`` of its length free at either end."""
        positive = [value for value in values if value > 0] or [1.0]
        low, high = min(positive), max(positive)
        if high / low >= LOGARITHMIC_FROM:
            factor = (high / low) ** margin
            return cls(low / factor, high * factor, logarithmic=True)
        space = max(high - low, 0.1 * high) * margin
        return cls(low - space, high + space)

    def percent(self, value: float) -> float:
        """Return the place of ``value``: 0 at the low end, 100 at the high one; what lies outside, at that end."""
        value = min(max(value, self.low), self.high)
        if self.logarithmic:
            return 100 * math.log(value / self.low) / math.log(self.high / self.low)
        return 100 * (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Return some round values: 1, 2 or 5 times a power of ten, or multiples of one."""
        if not self.logarithmic:
            return self._multiples(next(iter(_round_steps(self.high - self.low))))
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for mantissas in ((1, 2, 5), (1, 3), (1,)):
            found = [mantissa * 10.0**decade for decade in decades for mantissa in mantissas]
            inside = [tick for tick in found if self.low <= tick <= self.high]
            if len(inside) <= 7:
                break
        return inside

    def labelled_ticks(self) -> list[tuple[float, str]]:
        """Return the percentage and the text of each tick."""
        return [(self.percent(tick), f"{tick:,.6g}") for tick in self.ticks()]

    def _multiples(self, step: float) -> list[float]:
        return [i * step for i in range(math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9) + 1)]


def _round_steps(length: float) -> Iterable[float]:
    """Yield the round steps, smallest first, that divide ``length`` into six parts at most."""
    power = math.floor(math.log10(length))
    return (m * 10.0**e for e in (power - 1, power, power + 1) for m in (1, 2, 5) if length / (m * 10.0**e) <= 6)
