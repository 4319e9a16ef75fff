"""Backends on a device, and what this machine lacks for them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec
from typing import Literal

from vgg_runtime.bundle.manifest import Variant
from vgg_runtime.errors import MissingCapabilityError, UsageError

__all__ = ["ENGINES", "Engine", "find_engines", "why_no_torch", "why_no_torch_on_cuda"]


@dataclass(frozen=True)
class Engine:
    """A backend on a device.

    Attributes:
        backend: as :func:`vgg_runtime.backends.registry.open_backend` knows it.
        runs: formats of variants.
        why_absent: what this machine lacks for it; None if nothing.
        precisions: of the variants that it is worth measuring; empty for all.
        cuda_mode: a way to run CUDA that is not the default: "graph" replays a captured graph.
        for_comparison: whether it is only measured beside the others, so that nobody misses it where it is absent.
    """

    backend: str
    device: Literal["cpu", "cuda"]
    runs: Literal["onnx", "torchscript"]
    why_absent: Callable[[], str | None]
    precisions: tuple[str, ...] = ()
    cuda_mode: Literal["tf32", "graph"] | None = None
    for_comparison: bool = False

    def fits(self, variant: Variant) -> bool:
        """Whether it is measured on ``variant``."""
        return self.runs == variant.format and (not self.precisions or variant.precision in self.precisions)


def find_engines(
    asked: Sequence[str], variants: Sequence[Variant], device: str | None = None
) -> tuple[dict[str, Engine], dict[str, str]]:
    """Return the engines that run a variant here, and the reason for each absent one.

    Args:
        asked: names of :data:`ENGINES`; empty for all.
        device: "cpu" or "cuda" leaves the engines of the other out.

    Raises:
        UsageError: a requested engine is unknown, or runs none of the variants.
        MissingCapabilityError: a requested engine is absent, or all are.
    """
    if unknown := sorted(set(asked) - set(ENGINES)):
        raise UsageError(f"unknown backend {', '.join(unknown)}.", hint=f"Available: {', '.join(ENGINES)}.")
    if elsewhere := [name for name in asked if device not in (None, ENGINES[name].device)]:
        raise UsageError(f"{', '.join(elsewhere)} does not run on `{device}`.", hint="Omit `device` or `backends`.")
    fit = {name: engine for name, engine in ENGINES.items() if any(map(engine.fits, variants))}
    if idle := [name for name in asked if name not in fit]:
        names = ", ".join(variant.name for variant in variants)
        raise UsageError(f"{', '.join(idle)} runs none of the variants: {names}.")
    wanted = {name: fit[name] for name in asked or fit if device in (None, fit[name].device)}
    if not wanted:
        raise UsageError(f"no variant that is asked for can be measured on `{device}`.")
    absent = {name: why for name, engine in wanted.items() if (why := engine.why_absent()) is not None}
    missed = {name: why for name, why in absent.items() if not wanted[name].for_comparison}
    if asked and absent:
        raise MissingCapabilityError(f"this machine lacks {_reasons(absent)}")
    if len(absent) == len(wanted):
        raise MissingCapabilityError(f"nothing can be measured here: {_reasons(missed or absent)}")
    return {name: engine for name, engine in wanted.items() if name not in absent}, missed


def why_no_torch() -> str | None:
    """Return what is missing to run PyTorch, None if nothing is."""
    return _why_no_package("torch", "export,cpu")


@cache
def why_no_torch_on_cuda() -> str | None:
    """Return what is missing to run PyTorch on CUDA, None if nothing is."""
    from vgg_runtime.backends.cuda_presence import has_driver

    if (why := why_no_torch()) is not None:
        return why
    # In a process of its own, because importing PyTorch takes seconds and memory.
    question = [sys.executable, "-P", "-c", "import torch, sys; sys.exit(not torch.cuda.is_available())"]
    if has_driver() and subprocess.run(question, check=False, capture_output=True).returncode == 0:
        return None
    return "CUDA is not available to this PyTorch"


def _reasons(absent: dict[str, str]) -> str:
    return "; ".join(f"{name}: {why}" for name, why in absent.items())


def _why_no_onnxruntime() -> str | None:
    from vgg_runtime.backends.onnxruntime_cpu import import_onnxruntime

    return _why_not(import_onnxruntime)


def _why_no_cuda() -> str | None:
    from vgg_runtime.backends.cuda_presence import require_cuda

    return _why_not(require_cuda)


def _why_no_package(package: str, extra: str) -> str | None:
    return None if find_spec(package) else f'{package} is not installed: pip install "vgg-deploy[{extra}]"'


def _why_not(check: Callable[[], object]) -> str | None:
    try:
        check()
    except MissingCapabilityError as error:
        return error.message
    return None


_compared_on_cuda = partial(Engine, device="cuda", for_comparison=True)
_compared_onnxruntime = partial(_compared_on_cuda, "onnxruntime", runs="onnx", why_absent=_why_no_cuda)

ENGINES: dict[str, Engine] = {
    "onnxruntime": Engine("onnxruntime", "cpu", "onnx", _why_no_onnxruntime),
    "onnxruntime-cuda": Engine("onnxruntime", "cuda", "onnx", _why_no_cuda),
    "openvino": Engine("openvino", "cpu", "onnx", partial(_why_no_package, "openvino", "openvino")),
    "torchscript": Engine("torchscript", "cpu", "torchscript", why_no_torch),
    "onnxruntime-cuda-tf32": _compared_onnxruntime(precisions=("fp32",), cuda_mode="tf32"),
    "onnxruntime-cuda-graph": _compared_onnxruntime(cuda_mode="graph"),
    "torchscript-cuda": _compared_on_cuda(
        "torchscript", runs="torchscript", why_absent=why_no_torch_on_cuda, precisions=("fp32", "fp16")
    ),
}
