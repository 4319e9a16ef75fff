"""Figures from the driver of an NVIDIA GPU, through NVML and the package nvidia-ml-py; None if either is missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["energy_joules", "gpu_name", "used_megabytes"]

T = TypeVar("T")


def energy_joules() -> float | None:
    """Return the joules that the first GPU has used since its driver was loaded."""
    return _ask(lambda nvml, gpu: float(nvml.nvmlDeviceGetTotalEnergyConsumption(gpu)) / 1e3)


def used_megabytes() -> float | None:
    """Return the used memory of the first GPU, by all processes, in MB."""
    return _ask(lambda nvml, gpu: float(nvml.nvmlDeviceGetMemoryInfo(gpu).used) / 1e6)


def gpu_name() -> str | None:
    """Return the name of the first GPU."""
    return _ask(lambda nvml, gpu: str(nvml.nvmlDeviceGetName(gpu)))


def _ask(question: Callable[[Any, Any], T]) -> T | None:
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        return question(pynvml, pynvml.nvmlDeviceGetHandleByIndex(0))
    except pynvml.NVMLError:  # no driver, no GPU, or no such figure
        return None
