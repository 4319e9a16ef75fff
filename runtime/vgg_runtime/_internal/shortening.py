"""Names out of a file as parts of a message, cut to a readable length."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["listed", "shortened"]

_SHOWN_LENGTH = 100


def listed(names: Iterable[str], *, most: int = 10) -> str:
    """Return the first names, each shortened, and how many more there are than ``most``."""
    everything = list(names)
    more = [f"and {len(everything) - most} more"] if len(everything) > most else []
    return ", ".join([*map(shortened, everything[:most]), *more])


def shortened(text: str) -> str:
    """Return the text, cut to a readable length."""
    return text if len(text) <= _SHOWN_LENGTH else f"{text[: _SHOWN_LENGTH - 3]}... ({len(text)} characters)"
