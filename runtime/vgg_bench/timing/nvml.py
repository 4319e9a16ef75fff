"""Figures from the driver of an NVIDIA GPU, through NVML and the package nvidia-ml-py; None if either is missing.

They are those of CUDA's first device. NVML counts GPUs in another order than CUDA, and ignores CUDA_VISIBLE_DEVICES.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar
from uuid import UUID

from vgg_runtime.backends.cuda_presence import DRIVER

__all__ = ["energy_joules", "free_share", "gpu_name", "used_megabytes", "utilization"]

T = TypeVar("T")


def energy_joules() -> float | None:
    """Return the joules that the GPU has used since its driver was loaded."""
    return _ask(lambda nvml, gpu: float(nvml.nvmlDeviceGetTotalEnergyConsumption(gpu)) / 1e3)


def used_megabytes() -> float | None:
    """Return the used memory of the GPU, by all processes, in MB."""
    return _ask(lambda nvml, gpu: float(nvml.nvmlDeviceGetMemoryInfo(gpu).used) / 1e6)


def free_share() -> float | None:
    """Return the share of the GPU's memory that is free."""

    def share(nvml: Any, gpu: Any) -> float:
        memory = nvml.nvmlDeviceGetMemoryInfo(gpu)
        return float(memory.free) / float(memory.total)

    return _ask(share)


def utilization() -> float | None:
    """Return the share of the driver's last sample period in which the GPU ran a kernel."""
    return _ask(lambda nvml, gpu: float(nvml.nvmlDeviceGetUtilizationRates(gpu).gpu) / 100)


def gpu_name() -> str | None:
    """Return the name of the GPU."""
    return _ask(lambda nvml, gpu: str(nvml.nvmlDeviceGetName(gpu)))


def _ask(question: Callable[[Any, Any], T]) -> T | None:
    uuid = _first_device()
    if uuid is None:
        return None
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        return question(pynvml, _handle(pynvml, uuid))
    except pynvml.NVMLError:  # no driver, no GPU, or no such figure
        return None


def _handle(nvml: Any, uuid: UUID) -> Any:
    """The GPU, or the MIG instance, of that UUID."""
    try:
        return nvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
    except nvml.NVMLError:
        return nvml.nvmlDeviceGetHandleByUUID(f"MIG-{uuid}")


@cache
def _first_device() -> UUID | None:
    """UUID of the first device that CUDA shows to this process; None without one.

    This starts the driver, and processes that are forked afterwards can't: call it only where CUDA is measured.
    """
    try:
        driver = ctypes.CDLL(DRIVER)
        get_uuid = driver.cuDeviceGetUuid_v2
    except (OSError, AttributeError):  # no driver, or one from before CUDA 11.4
        return None
    device, uuid = ctypes.c_int(), (ctypes.c_ubyte * 16)()
    failed = driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(device), 0) or get_uuid(uuid, device)
    return None if failed else UUID(bytes=bytes(uuid))
