"""Memory of this process and of the machine: from Linux's /proc, elsewhere from psutil if that is installed."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Memory", "available_share", "machine_memory_gb", "process_memory"]


@dataclass(frozen=True)
class Memory:
    """Memory of the measured process, in MB (10^6 bytes).

    Attributes:
        peak: largest resident set, loading included.
        steady: resident set after the last call.
        private: the part of ``steady`` that no file backs and no other process shares.
        gpu: memory of the device that the process holds, None on the CPU.
    """

    peak: float
    steady: float
    private: float
    gpu: float | None = None


PROC = Path("/proc") if sys.platform == "linux" else None


def process_memory() -> Memory | None:
    """Return the memory of this process; None if the system does not report it.

    ``private`` is anonymous memory on Linux (RssAnon) and the unique set size elsewhere. The peak is not that of
    getrusage, which a process inherits from its parent.
    """
    if PROC is not None:
        status = _kilobytes(PROC / "self" / "status")
        return Memory(*(status[name] * 1024 / 1e6 for name in ("VmHWM", "VmRSS", "RssAnon")))
    try:
        import psutil
    except ImportError:
        return None
    info = psutil.Process().memory_full_info()
    peak = getattr(info, "peak_wset", info.rss)  # Windows reports it; elsewhere the current value is the best estimate
    return Memory(peak / 1e6, info.rss / 1e6, info.uss / 1e6)


def machine_memory_gb() -> float:
    """Return the memory of the machine in 10^9 bytes; 0 if the system does not tell."""
    return _machine_memory()[0] / 1e9


def available_share() -> float:
    """Return the share of the machine's memory that new processes could have; 0 if the system does not tell."""
    total, available = _machine_memory()
    return available / total if total else 0.0


def _machine_memory() -> tuple[int, int]:
    """Total and available, in bytes."""
    if PROC is not None:
        totals = _kilobytes(PROC / "meminfo")
        return totals["MemTotal"] * 1024, totals["MemAvailable"] * 1024
    try:
        import psutil
    except ImportError:
        return 0, 0
    memory = psutil.virtual_memory()
    return memory.total, memory.available


def _kilobytes(file: Path) -> dict[str, int]:
    """The lines ``Name:   123 kB`` of a file in /proc."""
    lines = (line.split() for line in file.read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) for words in lines if words[2:] == ["kB"]}
