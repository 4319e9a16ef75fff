"""Counts: those that callers give (images per batch, threads, classes), and how messages write them."""

from __future__ import annotations

from vgg_runtime.errors import UsageError

__all__ = ["check_positive_int", "counted"]


def check_positive_int(name: str, value: int, *, maximum: int | None = None) -> int:
    """Return ``value``, which the caller gave as ``name``.

    Raises:
        UsageError: it is not an integer, less than 1, or greater than ``maximum``.
    """
    accepted = ">= 1" if maximum is None else f"from 1 to {maximum}"
    if not hasattr(value, "__index__") or value < 1 or (maximum is not None and value > maximum):
        raise UsageError(f"{name} must be an integer {accepted}, got {value!r}.")
    return int(value)


def counted(count: int, noun: str) -> str:
    """Return ``count`` with ``noun`` in the number that goes with it: "1 channel", "10 classes"."""
    ending = "" if count == 1 else "es" if noun.endswith("ss") else "s"
    return f"{count} {noun}{ending}"
