"""Engines that run a variant, behind one seam.

A backend is one file here and one line in :data:`BACKENDS`. One that needs more than the runtime may (PyTorch) lives
in a package of its own and is named in that package's metadata, in the entry-point group :data:`ENTRY_POINTS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from vgg_runtime.errors import MissingCapabilityError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["BACKENDS", "ENTRY_POINTS", "Backend", "Device", "Placement", "open_backend"]

Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True)
class Placement:
    """Where and how wide a model is to run.

    Attributes:
        device: "cuda" runs on CUDA or fails; "auto" takes CUDA where it works, else the CPU.
        threads: CPU threads for one call, at least 1.
    """

    device: Device
    threads: int


class Backend(Protocol):
    """A loaded model. ``run`` may be called from several threads at once."""

    device: Literal["cpu", "cuda"]
    device_reason: str
    metadata: Mapping[str, str]

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return outputs (batch, classes) for a float32 ``batch`` in NCHW order."""
        ...


def _onnxruntime(model: Path, placement: Placement) -> Backend:
    from vgg_runtime.backends.onnxruntime_backend import OnnxRuntimeBackend

    return OnnxRuntimeBackend(model, placement)


ENTRY_POINTS = "vgg_deploy.backends"

BACKENDS: dict[str, Callable[[Path, Placement], Backend]] = {
    "onnxruntime": _onnxruntime,
}


def open_backend(name: str, model: Path, placement: Placement) -> Backend:
    """Load the file ``model`` with the backend called ``name``.

    Raises:
        MissingCapabilityError: there is no such backend, its package is missing, or the device is.
        BundleError: the engine cannot read the file.
    """
    if name in BACKENDS:
        return BACKENDS[name](model, placement)
    plugged = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    if name not in plugged:
        known = ", ".join([*BACKENDS, *plugged])
        raise MissingCapabilityError(f"no backend is called {name!r}.", hint=f"There is {known}.")
    backend: Backend = plugged[name].load()(model, placement)
    return backend
