"""Checks of arguments, and counts with their nouns in messages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from vgg_runtime.errors import UsageError

__all__ = ["as_words", "check_positive_int", "counted"]

Word = TypeVar("Word", bound=str)


def check_positive_int(name: str, value: int, *, maximum: int | None = None) -> int:
    """Return ``value``, the argument called ``name``, as an int.

    Raises:
        UsageError: it is not an integer from 1 to ``maximum``.
    """
    accepted = ">= 1" if maximum is None else f"from 1 to {maximum}"
    if not hasattr(value, "__index__") or value < 1 or (maximum is not None and value > maximum):
        raise UsageError(f"`{name}` must be an integer {accepted}, got {value!r}.")
    return int(value)


def as_words(words: Word | Iterable[Word]) -> tuple[Word, ...]:
    """Return one or several ``words`` as a tuple; a string is one word, not a sequence of letters."""
    return (words,) if isinstance(words, str) else tuple(words)


def counted(count: int, noun: str) -> str:
    """Return ``count`` and ``noun``, in the plural if needed: "1 channel", "10 classes"."""
    ending = "" if count == 1 else "es" if noun.endswith("ss") else "s"
    return f"{count} {noun}{ending}"
