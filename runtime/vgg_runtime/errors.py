"""Every error that vgg-deploy raises on purpose, and its exit code.

    VggDeployError                    1  internal error
    ├── UsageError                    2  the call itself is wrong: an option, an argument, a combination
    ├── RefusedInputError             3  a file or a value that is unreadable, unsafe or unsupported
    │   ├── CheckpointError              a checkpoint
    │   │   ├── UnsafeCheckpointError    ... that would run code
    │   │   └── ArchitectureError        ... whose architecture is unknown, ambiguous or does not fit
    │   ├── ImageError                   an image
    │   ├── LabelsError                  a file of labels
    │   ├── CalibrationError             calibration images, or a network that cannot be quantized that way
    │   ├── PreprocessingError           a description of preprocessing
    │   ├── KeyFileError                 a file with a key for signatures
    │   └── BundleError                  a bundle
    ├── VerificationError             4  two things that must agree differ
    │   ├── ParityError                  a variant and eager PyTorch
    │   ├── ChecksumError                a file and the checksum in the manifest
    │   ├── SignatureError               a bundle and its signature
    │   └── SelfTestError                this machine's outputs and the golden ones
    └── MissingCapabilityError        5  this machine lacks something: CUDA, onnxruntime, an extra
        ├── OutOfMemoryError             ... or the memory for it; the next, smaller call may work
        └── QueueFullError               ... or the time for it; a later call may work

A message says what is wrong and what is accepted; the hint says what to do next.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "ArchitectureError",
    "BundleError",
    "CalibrationError",
    "CheckpointError",
    "ChecksumError",
    "ImageError",
    "KeyFileError",
    "LabelsError",
    "MissingCapabilityError",
    "OutOfMemoryError",
    "ParityError",
    "PreprocessingError",
    "QueueFullError",
    "RefusedInputError",
    "SelfTestError",
    "SignatureError",
    "UnsafeCheckpointError",
    "UsageError",
    "VerificationError",
    "VggDeployError",
]


class VggDeployError(Exception):
    """The root of the tree.

    Args:
        message: what is wrong, and what is accepted.
        hint: what to do next; shown on a line of its own.

    Examples:
        >>> from vgg_runtime import Classifier, VggDeployError
        >>> try:
        ...     Classifier("no.bundle")
        ... except VggDeployError as error:
        ...     print(type(error).__name__, error.exit_code, error.message)
        BundleError 3 there is no bundle at no.bundle.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class UsageError(VggDeployError):
    """The call itself is wrong."""

    exit_code = 2


class RefusedInputError(VggDeployError):
    """A file or a value is unreadable, unsafe or unsupported."""

    exit_code = 3


class CheckpointError(RefusedInputError):
    """A checkpoint was refused."""


class UnsafeCheckpointError(CheckpointError):
    """A checkpoint names something that could run code."""


class ArchitectureError(CheckpointError):
    """The architecture of a checkpoint is unknown or ambiguous, or does not fit its tensors."""


class ImageError(RefusedInputError):
    """An image, or an array given as one, was refused."""


class LabelsError(RefusedInputError):
    """A file of labels was refused, or does not fit the head of the network."""


class PreprocessingError(RefusedInputError):
    """A description of preprocessing was refused."""


class KeyFileError(RefusedInputError):
    """A file with a key for signatures was refused."""


class CalibrationError(RefusedInputError):
    """Calibration images were refused, or a network that cannot be quantized as requested."""


class BundleError(RefusedInputError):
    """A bundle was refused."""


class VerificationError(VggDeployError):
    """Two things that must agree differ."""

    exit_code = 4


class ParityError(VerificationError):
    """A variant differs from eager PyTorch by more than its tolerance."""


class ChecksumError(VerificationError):
    """A file differs from the checksum in the manifest."""


class SignatureError(VerificationError):
    """A bundle is not signed, or not by the key that was asked for, or its manifest has changed since."""


class SelfTestError(VerificationError):
    """The outputs on this machine differ from the golden outputs by more than the tolerance."""


class MissingCapabilityError(VggDeployError):
    """This machine lacks something that was asked for."""

    exit_code = 5


class OutOfMemoryError(MissingCapabilityError):
    """This machine, or its GPU, does not have enough memory for the call."""


class QueueFullError(MissingCapabilityError):
    """A queue has as many unanswered images as it may have."""
