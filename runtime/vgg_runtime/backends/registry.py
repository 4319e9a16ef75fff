"""The backends, one line each in :data:`BACKENDS`.

A backend with further requirements, such as PyTorch, lives in another package, whose metadata names it in the
entry-point group :data:`ENTRY_POINTS`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vgg_runtime.backends.base import Backend, SessionConfig
from vgg_runtime.errors import MissingCapabilityError

__all__ = ["BACKENDS", "ENTRY_POINTS", "open_backend"]


def _onnxruntime(model: Path, config: SessionConfig) -> Backend:
    from vgg_runtime.backends.device_selection import open_on_device

    return open_on_device(model, config)


def _openvino(model: Path, config: SessionConfig) -> Backend:
    from vgg_runtime.backends.openvino import OpenVinoBackend

    return OpenVinoBackend(model, config)


ENTRY_POINTS = "vgg_deploy.backends"

BACKENDS: dict[str, Callable[[Path, SessionConfig], Backend]] = {
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
}


def open_backend(name: str, model: Path, config: SessionConfig) -> Backend:
    """Load the file ``model`` with the backend called ``name``.

    Raises:
        MissingCapabilityError: the backend is unknown, or its package or the device is missing.
        BundleError: the engine cannot read the file.
    """
    if name in BACKENDS:
        return BACKENDS[name](model, config)
    from importlib.metadata import entry_points  # importing it takes as long as loading a small model

    plugged = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    if name not in plugged:
        names = ", ".join([*BACKENDS, *plugged])
        raise MissingCapabilityError(f"unknown backend {name!r}.", hint=f"Available: {names}.")
    backend: Backend = plugged[name].load()(model, config)
    return backend
