"""Backends on a device, and what this machine lacks for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Literal

from vgg_runtime.bundle.manifest import Variant
from vgg_runtime.errors import MissingCapabilityError, UsageError

__all__ = ["ENGINES", "Engine", "find_engines", "why_no_torch"]


@dataclass(frozen=True)
class Engine:
    """A backend on a device.

    Attributes:
        backend: as :func:`vgg_runtime.backends.registry.open_backend` knows it.
        runs: formats of variants.
        why_absent: what this machine lacks for it; None if nothing.
    """

    backend: str
    device: Literal["cpu", "cuda"]
    runs: Literal["onnx", "torchscript"]
    why_absent: Callable[[], str | None]


def find_engines(asked: Sequence[str], variants: Sequence[Variant]) -> tuple[dict[str, Engine], dict[str, str]]:
    """Return the engines that run a variant here, and the reason for each absent one.

    Args:
        asked: names of :data:`ENGINES`; empty for all.

    Raises:
        UsageError: a requested engine is unknown, or runs none of the variants.
        MissingCapabilityError: a requested engine is absent, or all are.
    """
    if unknown := sorted(set(asked) - set(ENGINES)):
        raise UsageError(f"unknown backend {', '.join(unknown)}.", hint=f"Available: {', '.join(ENGINES)}.")
    formats = {variant.format for variant in variants}
    if idle := [name for name in asked if ENGINES[name].runs not in formats]:
        names = ", ".join(variant.name for variant in variants)
        raise UsageError(f"{', '.join(idle)} runs none of the variants: {names}.")
    wanted = {name: ENGINES[name] for name in asked or ENGINES if ENGINES[name].runs in formats}
    absent = {name: why for name, engine in wanted.items() if (why := engine.why_absent()) is not None}
    if asked and absent:
        raise MissingCapabilityError(f"this machine lacks {_reasons(absent)}")
    if len(absent) == len(wanted):
        raise MissingCapabilityError(f"nothing can be measured here: {_reasons(absent)}")
    return {name: engine for name, engine in wanted.items() if name not in absent}, absent


def why_no_torch() -> str | None:
    """Return what is missing to run PyTorch, None if nothing is."""
    return _why_no_package("torch", "export,cpu")


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


ENGINES: dict[str, Engine] = {
    "onnxruntime": Engine("onnxruntime", "cpu", "onnx", _why_no_onnxruntime),
    "onnxruntime-cuda": Engine("onnxruntime", "cuda", "onnx", _why_no_cuda),
    "openvino": Engine("openvino", "cpu", "onnx", partial(_why_no_package, "openvino", "openvino")),
    "torchscript": Engine("torchscript", "cpu", "torchscript", why_no_torch),
}
