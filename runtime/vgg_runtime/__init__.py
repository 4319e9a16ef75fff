"""Run a bundle that vgg-export wrote: numpy, Pillow and onnxruntime, no PyTorch.

Importing this package imports none of the three; the first use of a name below imports what it needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vgg_runtime import errors
from vgg_runtime._internal.lazy import lazy_names
from vgg_runtime.errors import *  # noqa: F403

if TYPE_CHECKING:
    from vgg_runtime.async_classifier import AsyncClassifier
    from vgg_runtime.backends.base import CudaOptions
    from vgg_runtime.batching import BatchingQueue
    from vgg_runtime.bundle.directory import Bundle, open_bundle
    from vgg_runtime.bundle.manifest import Manifest, ParityFigures
    from vgg_runtime.classifier import Classifier, Prediction
    from vgg_runtime.imaging.decode import ImageSource
    from vgg_runtime.imaging.preprocessing import Preprocessing
    from vgg_runtime.imaging.presets import PRESETS
    from vgg_runtime.verification import verify_bundle

    __version__: str

__all__ = [
    "PRESETS",
    "AsyncClassifier",
    "BatchingQueue",
    "Bundle",
    "Classifier",
    "CudaOptions",
    "ImageSource",
    "Manifest",
    "ParityFigures",
    "Prediction",
    "Preprocessing",
    "__version__",
    "open_bundle",
    "verify_bundle",
]
__all__ += errors.__all__

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "PRESETS": "vgg_runtime.imaging.presets",
        "AsyncClassifier": "vgg_runtime.async_classifier",
        "BatchingQueue": "vgg_runtime.batching",
        "Bundle": "vgg_runtime.bundle.directory",
        "Classifier": "vgg_runtime.classifier",
        "CudaOptions": "vgg_runtime.backends.base",
        "ImageSource": "vgg_runtime.imaging.decode",
        "Manifest": "vgg_runtime.bundle.manifest",
        "ParityFigures": "vgg_runtime.bundle.manifest",
        "Prediction": "vgg_runtime.classifier",
        "Preprocessing": "vgg_runtime.imaging.preprocessing",
        "open_bundle": "vgg_runtime.bundle.directory",
        "verify_bundle": "vgg_runtime.verification",
    },
)
