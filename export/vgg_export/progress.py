"""How an export reports its progress."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

__all__ = ["OnNote", "OnStep", "ignore_notes", "ignore_steps"]

# Called with a line of text for everything that the user has to know, whether the export succeeds or fails.
OnNote = Callable[[str], None]


class OnStep(Protocol):
    """Called when a step begins, and again as it proceeds if it can be counted."""

    def __call__(self, text: str, done: int = 0, total: int = 0, /) -> None:
        """Report the step ``text``, of which ``done`` of ``total`` parts are finished; 0 if the total is unknown."""


def ignore_steps(text: str, done: int = 0, total: int = 0, /) -> None:
    """Tell nobody."""


def ignore_notes(note: str, /) -> None:
    """Tell nobody."""
