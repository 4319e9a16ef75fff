"""What the figures hold for: the machine and the packages."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Mapping

from vgg_runtime.benchmark import nvml
from vgg_runtime.benchmark.memory import machine_memory_gb
from vgg_runtime.benchmark.peaks import Peaks
from vgg_runtime.benchmark.results import Machine
from vgg_runtime.processor import processor_name

__all__ = ["available_cpus", "describe_machine", "package_versions"]

PACKAGES = ("vgg-deploy", "numpy", "onnxruntime", "onnxruntime-gpu", "openvino", "torch")


def describe_machine(peaks: Mapping[int, Peaks], noise: float | None) -> Machine:
    """Return this machine, with its measured peaks by number of threads."""
    return Machine(
        processor=processor_name(),
        system=f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        cpus=available_cpus(),
        memory_gb=machine_memory_gb(),
        gpu=nvml.gpu_name(),
        gmac_per_s={str(threads): found.gmac_per_s for threads, found in peaks.items()},
        gigabytes_per_s={str(threads): found.gigabytes_per_s for threads, found in peaks.items()},
        noise=noise,
    )


def available_cpus() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that may take part, of those that are installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
