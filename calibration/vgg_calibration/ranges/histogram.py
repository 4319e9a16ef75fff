"""A running histogram of bounded size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Histogram", "Range"]

# 16 bins for each of the 256 levels of 8 bits: fine enough for the centre of a bin to represent its values.
MAX_BINS = 4096

_LEAST_WIDTH = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Range:
    """The values that quantization covers; others are clipped. Zero is always inside.

    Attributes:
        low: the smallest value, zero or below.
        high: the largest value, zero or above.

    Examples:
        >>> from vgg_calibration import Range
        >>> Range(0.0, 6.0)
        Range(low=0.0, high=6.0)
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (self.low <= 0 <= self.high and math.isfinite(self.high - self.low)):
            raise ValueError(f"a range must be finite and contain 0, got {self.low} to {self.high}")


class Histogram:
    """Counts of values in bins of equal width, with zero on the edge between two bins.

    Bin number k covers ``[k * width, (k + 1) * width)``. For values too far outside, the width doubles and pairs
    of bins merge; as zero stays on an edge, the zeros of a ReLU never mix with negative values.
    """

    def __init__(self) -> None:
        self.low = self.high = 0.0
        self._width = 0.0
        self._zeros = 0
        self._first = 0
        self._counts: NDArray[np.int64] = np.zeros(0, dtype=np.int64)

    @property
    def counts(self) -> NDArray[np.int64]:
        """The number of values in each bin, int64 (bins,)."""
        return self._counts

    @property
    def centres(self) -> NDArray[np.float64]:
        """The middle of each bin, float64 (bins,)."""
        numbers = np.arange(len(self._counts), dtype=np.float64)
        return (numbers + self._first + 0.5) * np.float64(self._width)

    def add(self, values: NDArray[np.float32]) -> None:
        """Count ``values``, of any shape."""
        low, high = float(values.min()), float(values.max())
        if not math.isfinite(high - low):
            raise ValueError("activations are not finite")
        self.low, self.high = min(self.low, low), max(self.high, high)
        if self.high == self.low:
            self._zeros += values.size  # their bin is created with the first other value
            return
        self._cover()
        numbers = np.floor(values.ravel() / np.float32(self._width)).astype(np.int64) - self._first
        # Rounding may put a value on the edge one bin too far.
        np.clip(numbers, 0, len(self._counts) - 1, out=numbers)
        self._counts += np.bincount(numbers, minlength=len(self._counts))

    def _cover(self) -> None:
        """Widen the bins until they cover all values, and make room at both ends."""
        if self._width == 0:
            # Not below the smallest normal float32, as values are divided by it in float32.
            self._width = max((self.high - self.low) / (MAX_BINS - 2), _LEAST_WIDTH)
        while self._last_bin() - self._first_bin() + 1 > MAX_BINS:
            if self._first % 2:  # the partner of an odd first bin is the one before it
                self._first, self._counts = self._first - 1, np.pad(self._counts, (1, 0))
            if len(self._counts) % 2:
                self._counts = np.pad(self._counts, (0, 1))
            self._counts = self._counts.reshape(-1, 2).sum(axis=1)
            self._first, self._width = self._first // 2, self._width * 2
        first, last = self._first_bin(), self._last_bin()
        if len(self._counts):
            first, last = min(first, self._first), max(last, self._first + len(self._counts) - 1)
            room = (self._first - first, last - self._first - len(self._counts) + 1)
            self._counts = np.pad(self._counts, room)
        else:
            self._counts = np.zeros(last - first + 1, dtype=np.int64)
            self._counts[-first] = self._zeros
        self._first = first

    def _first_bin(self) -> int:
        return math.floor(self.low / self._width)

    def _last_bin(self) -> int:
        return math.floor(self.high / self._width)
