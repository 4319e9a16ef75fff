"""Eager PyTorch as a function of arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from vgg_runtime.errors import ArchitectureError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from vgg_runtime.bundle.manifest import InputArray

__all__ = ["eager_function", "run_batch"]


Run = Callable[["InputArray"], "NDArray[np.float32]"]


def run_batch(run: Run, batch: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the outputs of eager PyTorch for float32 (images, channels, height, width): float32 (images, classes).

    Raises:
        ArchitectureError: the network fails on them, or does not give one row per image.
    """
    try:
        output = run(batch)
    except Exception as error:  # the module's forward may raise anything
        raise ArchitectureError(
            f"the network fails on a batch of {len(batch)} images of shape {batch.shape[1:]}: {first_line(error)}",
            hint="Check `input_size` and `model`; with a fixed batch size, give `batch=N`.",
        ) from error
    if output.ndim != 2 or len(output) != len(batch):
        raise ArchitectureError(
            f"the network gives {list(output.shape)} for {len(batch)} images; a classifier gives [images, classes]."
        )
    return output


def eager_function(module: Callable[[Tensor], Tensor]) -> Run:
    """Return ``module``, whose output lies on the CPU, as a function of arrays instead of tensors."""
    import torch

    def run(batch: InputArray) -> NDArray[np.float32]:
        with torch.inference_mode():
            output = module(torch.from_numpy(np.ascontiguousarray(batch)))
        if not isinstance(output, torch.Tensor):
            raise TypeError(f"its output is {type(output).__name__}, not one tensor")
        result: NDArray[np.float32] = output.float().numpy()
        return result

    return run


def first_line(error: Exception) -> str:
    """The first line of the message; in PyTorch's errors a traceback follows."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].removesuffix(".") if lines else type(error).__name__
