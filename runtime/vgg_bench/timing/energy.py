"""Energy counters, if this process may read them: RAPL of the processor, NVML of an NVIDIA GPU."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vgg_bench.timing import nvml

__all__ = ["EnergyReading", "joules_between", "read_counters"]

POWERCAP = Path("/sys/class/powercap")


@dataclass(frozen=True)
class EnergyReading:
    """A counter at one moment.

    Attributes:
        joules: since the counter last started at 0.
        wraps_at: joules at which it wraps around to 0.
    """

    joules: float
    wraps_at: float


def read_counters(device: Literal["cpu", "cuda"], *, powercap: Path = POWERCAP) -> tuple[EnergyReading, ...]:
    """Return the counters of the processor's packages, or of the GPU; none if they are absent or unreadable.

    They count the whole package or board, including idle power and other processes.
    """
    if device == "cuda":
        joules = nvml.energy_joules()
        return () if joules is None else (EnergyReading(joules, float("inf")),)
    # "intel-rapl:0" is a package, also on AMD; "intel-rapl:0:0" is a part of it.
    packages = sorted(zone for zone in powercap.glob("intel-rapl:*") if zone.name.count(":") == 1)
    try:
        return tuple(
            EnergyReading(_microjoules(zone / "energy_uj") / 1e6, _microjoules(zone / "max_energy_range_uj") / 1e6)
            for zone in packages
        )
    except (OSError, ValueError):  # usually only root may read it
        return ()


def joules_between(before: tuple[EnergyReading, ...], after: tuple[EnergyReading, ...]) -> float | None:
    """Return the joules that were spent, over all counters; None without any."""
    if not before or len(before) != len(after):
        return None
    return sum((b.joules - a.joules) % a.wraps_at for a, b in zip(before, after, strict=True))


def _microjoules(file: Path) -> int:
    return int(file.read_text())
