"""Locks and threads across a fork: a lock that no child inherits as held, and a check for threads that are gone."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from vgg_runtime.errors import UsageError

__all__ = ["ForkSafeLock", "require_own_threads"]


class ForkSafeLock:
    """A lock held by one thread at a time, and by none in a forked child, even if the parent held it.

    It lives as long as the process: create one per module.
    """

    def __init__(self) -> None:
        self._renew()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self._lock = threading.Lock()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold it during a block; the lock that was acquired is released afterwards, even across a fork."""
        with self._lock:
            yield


def require_own_threads(process: int, owner: str) -> None:
    """Raise UsageError in a process that was forked from ``process``, which has the threads of ``owner``."""
    if process != os.getpid():
        raise UsageError(
            f"this process was forked from the one that made the {owner}, and has none of its threads.",
            hint="Create one in each process, around the same classifier.",
        )
