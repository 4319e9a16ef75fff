"""A lock that a fork cannot leave taken."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["ForkSafeLock"]


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
