"""The machine and the packages that the figures hold for."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterable, Mapping

from vgg_bench.measurement.peaks import Peaks
from vgg_bench.results import Machine
from vgg_bench.timing import nvml
from vgg_bench.timing.memory import machine_memory_gb
from vgg_runtime._internal.cpu import available_cpus, cpu_model_name

__all__ = ["describe_machine", "package_versions"]

PACKAGES = ("vgg-deploy", "numpy", "onnxruntime", "onnxruntime-gpu", "openvino", "torch")


def describe_machine(peaks: Mapping[int, Peaks], noise: float | None, *, with_gpu: bool) -> Machine:
    """Return this machine, with its measured peaks by number of threads; with its GPU only if that was measured."""
    return Machine(
        processor=cpu_model_name(),
        system=f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        cpus=available_cpus(),
        memory_gb=machine_memory_gb(),
        gpu=nvml.gpu_name() if with_gpu else None,
        gmac_per_s={str(threads): peak.gmac_per_s for threads, peak in peaks.items()},
        gigabytes_per_s={str(threads): peak.gigabytes_per_s for threads, peak in peaks.items()},
        noise=noise,
    )


def package_versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Return the versions of the installed ``packages``; by default those that may take part in a run."""
    versions = {}
    for name in packages:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
