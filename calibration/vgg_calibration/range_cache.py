"""Ranges kept in a readable file, so that the same model and images are not run twice."""

from __future__ import annotations

from collections.abc import Mapping

from vgg_calibration.ranges import Range
from vgg_runtime.json_cache import load_entry, store_entry

__all__ = ["load_ranges", "store_ranges"]


def load_ranges(key: Mapping[str, str]) -> dict[str, Range] | None:
    """Return the ranges stored under ``key``, by tensor; None where there are none, or not readable ones."""
    try:
        stored = load_entry("ranges", key) or {}
        return {name: Range(float(low), float(high)) for name, (low, high) in stored["ranges"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return None  # absent or damaged: the images are run again


def store_ranges(key: Mapping[str, str], ranges: Mapping[str, Range]) -> None:
    """Store ``ranges`` under ``key``; a cache that cannot be written is no error."""
    store_entry("ranges", key, {"ranges": {name: [found.low, found.high] for name, found in ranges.items()}})
