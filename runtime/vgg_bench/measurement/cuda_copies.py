"""The copies that a call on CUDA makes: the batch to the device, the outputs back."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vgg_runtime.bundle.manifest import InputArray

__all__ = ["copies_of"]


def copies_of(batch: InputArray, classes: int) -> Callable[[], object]:
    """Return a function that makes them and waits until they are done, as a call of the model does.

    Args:
        classes: number of classes; the outputs are float32 (batch, classes).
    """
    import numpy as np

    from vgg_runtime.backends.onnxruntime_cpu import import_onnxruntime

    values = import_onnxruntime().OrtValue
    outputs = values.ortvalue_from_numpy(np.zeros((len(batch), classes), np.float32), "cuda", 0)

    def copy() -> None:
        values.ortvalue_from_numpy(batch, "cuda", 0)
        outputs.numpy()

    return copy
