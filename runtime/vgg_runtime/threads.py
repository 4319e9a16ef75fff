"""How many threads this process may use: the CPUs it may run on, and the quota of its container."""

from __future__ import annotations

import math
import os
from pathlib import Path

__all__ = ["available_threads"]


def available_threads() -> int:
    """Return the number of threads that can run at once in this process, at least 1.

    The host's core count is no guide: a container may pin fewer cores (the affinity mask) or grant a share of
    their time (the control group's quota, rounded up to whole cores).
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_quota()
    return max(1, cores if quota is None else min(cores, math.ceil(quota)))


def _cgroup_quota(root: Path = Path("/sys/fs/cgroup")) -> float | None:
    """CPUs' worth of time that control groups grant, by version 2's interface or version 1's; None for no limit."""
    try:
        if (root / "cpu.max").exists():
            limit, period = (root / "cpu.max").read_text().split()
            return None if limit == "max" else int(limit) / int(period)
        limit = (root / "cpu" / "cpu.cfs_quota_us").read_text()
        period = (root / "cpu" / "cpu.cfs_period_us").read_text()
        return int(limit) / int(period) if int(limit) > 0 else None
    except (OSError, ValueError):
        return None
