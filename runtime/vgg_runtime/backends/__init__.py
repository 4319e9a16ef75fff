"""Engines that run a variant, behind one seam.

A backend is one file here and one line in :data:`BACKENDS`. One that needs more than the runtime may (PyTorch) lives
in a package of its own and is named in that package's metadata, in the entry-point group :data:`ENTRY_POINTS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from vgg_runtime.cuda_options import CudaOptions
from vgg_runtime.errors import MissingCapabilityError
from vgg_runtime.profiles import ProfileName

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vgg_runtime.manifest import Prepared

__all__ = ["BACKENDS", "ENTRY_POINTS", "Backend", "Choice", "Device", "Placement", "open_backend"]

Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True)
class Placement:
    """Where and how wide a model is to run.

    Attributes:
        device: "cuda" runs on CUDA or fails; "auto" takes CUDA where it works, else the CPU.
        threads: CPU threads for one call, at least 1.
        profile: what to tune for; an engine that has no such choice takes no notice.
        precision: of the variant, such as "fp32"; None where it is not known.
        cuda: what is asked of CUDA, where ONNX Runtime runs the model on it.
    """

    device: Device
    threads: int
    profile: ProfileName = "latency"
    precision: str | None = None
    cuda: CudaOptions = field(default_factory=CudaOptions)


@dataclass(frozen=True)
class Choice:
    """A backend, and why it is that one.

    Attributes:
        latency_ms: of one call, by backend; empty where there was nothing to measure.
    """

    backend: str
    reason: str
    latency_ms: dict[str, float] = field(default_factory=dict)


class Backend(Protocol):
    """A loaded model. ``run`` may be called from several threads at once."""

    device: Literal["cpu", "cuda"]
    device_reason: str
    metadata: Mapping[str, str]

    def run(self, batch: Prepared) -> NDArray[np.float32]:
        """Return outputs (batch, classes) for a ``batch`` of the dtype and layout that the manifest says."""
        ...


def _onnxruntime(model: Path, placement: Placement) -> Backend:
    from vgg_runtime.backends.onnxruntime_device import open_on_device

    return open_on_device(model, placement)


def _openvino(model: Path, placement: Placement) -> Backend:
    from vgg_runtime.backends.openvino_backend import OpenVinoBackend

    return OpenVinoBackend(model, placement)


ENTRY_POINTS = "vgg_deploy.backends"

BACKENDS: dict[str, Callable[[Path, Placement], Backend]] = {
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
}


def open_backend(name: str, model: Path, placement: Placement) -> Backend:
    """Load the file ``model`` with the backend called ``name``.

    Raises:
        MissingCapabilityError: there is no such backend, its package is missing, or the device is.
        BundleError: the engine cannot read the file.
    """
    if name in BACKENDS:
        return BACKENDS[name](model, placement)
    from importlib.metadata import entry_points  # as slow to import as a small model is to load

    plugged = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    if name not in plugged:
        known = ", ".join([*BACKENDS, *plugged])
        raise MissingCapabilityError(f"no backend is called {name!r}.", hint=f"There is {known}.")
    backend: Backend = plugged[name].load()(model, placement)
    return backend
