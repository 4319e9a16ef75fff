"""The processor: its name, and how many CPUs this process may use."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath

__all__ = ["available_cpus", "available_threads", "cpu_model_name", "cpu_quota"]


def available_threads() -> int:
    """Return the number of threads that can run at once in this process, at least 1.

    The host's core count may be too high: a container may be pinned to fewer cores (the affinity mask), or have a
    share of their time (the control group's quota, rounded up to whole cores).
    """
    cpus, quota = available_cpus(), cpu_quota()
    return max(1, cpus if quota is None else min(cpus, math.ceil(quota)))


def available_cpus() -> int:
    """Return how many CPUs this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_quota(root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")) -> float | None:
    """Return the limit that control groups set for this process, in CPUs; None if there is none.

    A limit applies to all nested groups, so this is the smallest from the process's own group up to the root, in
    version 2's interface or version 1's.
    """
    quotas = (_quota(group) for group in _groups(root, membership))
    return min((quota for quota in quotas if quota is not None), default=None)


def _groups(root: Path, membership: Path) -> Iterator[Path]:
    """The folders of this process's control groups and of their parents."""
    yield from (root, root / "cpu")
    try:
        lines = membership.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return
    for controllers, path in (line.split(":", 2)[1:] for line in lines if line.count(":") > 1):
        group = PurePosixPath(path)
        if ".." in group.parts:  # outside the part of the tree that the container sees
            continue
        if not controllers or "cpu" in controllers.split(","):
            tree = root / "cpu" if controllers else root
            yield from (tree / folder.relative_to("/") for folder in (group, *group.parents))


def _quota(group: Path) -> float | None:
    """The limit that is set on one control group itself."""
    try:
        if (group / "cpu.max").exists():
            limit, period = (group / "cpu.max").read_text().split()
            return None if limit == "max" else int(limit) / int(period)
        limit = (group / "cpu.cfs_quota_us").read_text()
        period = (group / "cpu.cfs_period_us").read_text()
        return int(limit) / int(period) if int(limit) > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None


@cache
def cpu_model_name() -> str:
    """Return what the CPU calls itself, such as "AMD EPYC 7763"; its architecture if it does not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):  # not Linux, or a CPU without such a line, as on arm64
        return platform.processor() or platform.machine()
