"""The name of this machine's CPU."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

__all__ = ["processor_name"]


@cache
def processor_name() -> str:
    """Return what the CPU calls itself, such as "AMD EPYC 7763"; its architecture where it does not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):  # no Linux, or one on a CPU that has no such line, as on arm64
        return platform.processor() or platform.machine()
