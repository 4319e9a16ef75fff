"""Numbers and intervals as text."""

from __future__ import annotations

import math

from vgg_bench.results import Estimate

__all__ = ["format_number", "interval"]


def format_number(value: float, digits: int = 3) -> str:
    """Return ``value`` with that many significant digits, without an exponent; integer digits are never dropped."""
    if value == 0:
        return "0"
    return f"{value:,.{max(0, digits - 1 - math.floor(math.log10(abs(value))))}f}"


def interval(estimate: Estimate) -> str:
    """Return a value with its interval, with enough digits to tell its ends apart."""
    if estimate.interval is None:
        return f"{format_number(estimate.value)} (no interval)"
    ends = estimate.interval
    if ends[0] == ends[1]:
        return format_number(estimate.value)
    for digits in (3, 4):
        decimals = len(format_number(estimate.value, digits).partition(".")[2])
        value, low, high = (f"{number:,.{decimals}f}" for number in (estimate.value, *ends))
        if low != high:
            break
    return f"{value} ({low}-{high})"
