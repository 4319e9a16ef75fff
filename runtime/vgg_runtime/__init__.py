"""Run a bundle that vgg-export wrote: numpy, Pillow and onnxruntime, no PyTorch.

Importing this package imports none of the three; each name below brings in what it needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vgg_runtime._internal.lazy import lazy_names

if TYPE_CHECKING:
    from vgg_runtime.async_classifier import AsyncClassifier
    from vgg_runtime.backends.base import CudaOptions
    from vgg_runtime.batching import BatchingQueue
    from vgg_runtime.bundle.directory import Bundle, open_bundle
    from vgg_runtime.bundle.manifest import Manifest, ParityFigures
    from vgg_runtime.classifier import Classifier
    from vgg_runtime.errors import (
        ArchitectureError,
        BundleError,
        CalibrationError,
        CheckpointError,
        ChecksumError,
        ImageError,
        LabelsError,
        MissingCapabilityError,
        OutOfMemoryError,
        ParityError,
        PreprocessingError,
        RefusedInputError,
        SelfTestError,
        UnsafeCheckpointError,
        UsageError,
        VerificationError,
        VggDeployError,
    )
    from vgg_runtime.imaging.decode import ImageSource
    from vgg_runtime.imaging.preprocessing import Preprocessing
    from vgg_runtime.imaging.presets import PRESETS
    from vgg_runtime.prediction import Prediction
    from vgg_runtime.verification import verify_bundle

    __version__: str

__all__ = [
    "PRESETS",
    "ArchitectureError",
    "AsyncClassifier",
    "BatchingQueue",
    "Bundle",
    "BundleError",
    "CalibrationError",
    "CheckpointError",
    "ChecksumError",
    "Classifier",
    "CudaOptions",
    "ImageError",
    "ImageSource",
    "LabelsError",
    "Manifest",
    "MissingCapabilityError",
    "OutOfMemoryError",
    "ParityError",
    "ParityFigures",
    "Prediction",
    "Preprocessing",
    "PreprocessingError",
    "RefusedInputError",
    "SelfTestError",
    "UnsafeCheckpointError",
    "UsageError",
    "VerificationError",
    "VggDeployError",
    "__version__",
    "open_bundle",
    "verify_bundle",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "PRESETS": "vgg_runtime.imaging.presets",
        "ArchitectureError": "vgg_runtime.errors",
        "AsyncClassifier": "vgg_runtime.async_classifier",
        "BatchingQueue": "vgg_runtime.batching",
        "Bundle": "vgg_runtime.bundle.directory",
        "BundleError": "vgg_runtime.errors",
        "CalibrationError": "vgg_runtime.errors",
        "CheckpointError": "vgg_runtime.errors",
        "ChecksumError": "vgg_runtime.errors",
        "Classifier": "vgg_runtime.classifier",
        "CudaOptions": "vgg_runtime.backends.base",
        "ImageError": "vgg_runtime.errors",
        "ImageSource": "vgg_runtime.imaging.decode",
        "LabelsError": "vgg_runtime.errors",
        "Manifest": "vgg_runtime.bundle.manifest",
        "MissingCapabilityError": "vgg_runtime.errors",
        "OutOfMemoryError": "vgg_runtime.errors",
        "ParityError": "vgg_runtime.errors",
        "ParityFigures": "vgg_runtime.bundle.manifest",
        "Prediction": "vgg_runtime.prediction",
        "Preprocessing": "vgg_runtime.imaging.preprocessing",
        "PreprocessingError": "vgg_runtime.errors",
        "RefusedInputError": "vgg_runtime.errors",
        "SelfTestError": "vgg_runtime.errors",
        "UnsafeCheckpointError": "vgg_runtime.errors",
        "UsageError": "vgg_runtime.errors",
        "VerificationError": "vgg_runtime.errors",
        "VggDeployError": "vgg_runtime.errors",
        "open_bundle": "vgg_runtime.bundle.directory",
        "verify_bundle": "vgg_runtime.verification",
    },
)
