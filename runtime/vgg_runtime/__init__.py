"""Run a bundle that vgg-export wrote: numpy, Pillow and onnxruntime, no PyTorch.

Importing this package imports none of the three; each name below brings in what it needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vgg_runtime.async_classifier import AsyncClassifier
    from vgg_runtime.batching_queue import BatchingQueue
    from vgg_runtime.classifier import Classifier, Prediction
    from vgg_runtime.cuda_options import CudaOptions
    from vgg_runtime.errors import VggDeployError
    from vgg_runtime.manifest import Manifest
    from vgg_runtime.preprocessing import Preprocessing
    from vgg_runtime.self_test import verify_bundle

    __version__: str

_HOMES = {
    "AsyncClassifier": "async_classifier",
    "BatchingQueue": "batching_queue",
    "Classifier": "classifier",
    "CudaOptions": "cuda_options",
    "Manifest": "manifest",
    "Prediction": "classifier",
    "Preprocessing": "preprocessing",
    "VggDeployError": "errors",
    "verify_bundle": "self_test",
}

__all__ = [
    "AsyncClassifier",
    "BatchingQueue",
    "Classifier",
    "CudaOptions",
    "Manifest",
    "Prediction",
    "Preprocessing",
    "VggDeployError",
    "__version__",
    "verify_bundle",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module(f"{__name__}.version").distribution_version()
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
