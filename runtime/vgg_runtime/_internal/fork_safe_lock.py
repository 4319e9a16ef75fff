"""What a fork leaves to a child: a lock that nobody holds, and no threads."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from vgg_runtime.errors import UsageError

__all__ = ["ForkSafeLock", "require_own_threads"]


class ForkSafeLock:
    """One thread at a time holds it; in a forked child nobody does, whoever of the parent did.

    It lives as long as the process: make one per module.
    """

    def __init__(self) -> None:
        self._renew()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self._lock = threading.Lock()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold it for the time of a block, after which the lock that was taken is let go, also across a fork."""
        with self._lock:
            yield


def require_own_threads(process: int, owner: str) -> None:
    """Refuse to go on in a process that was forked from ``process``, which has the threads of ``owner``."""
    if process != os.getpid():
        raise UsageError(
            f"this process was forked from the one that made the {owner}, and has none of its threads.",
            hint="Make another around the same classifier, in each process.",
        )
