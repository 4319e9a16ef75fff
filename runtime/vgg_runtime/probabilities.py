"""Probabilities from what a network gives, whichever of the three kinds that is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vgg_runtime.manifest import OutputKind

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
else:
    from vgg_runtime.lazy_numpy import np

__all__ = ["probabilities"]


def probabilities(outputs: NDArray[np.float32], kind: OutputKind) -> NDArray[np.float64]:
    """Return probabilities (batch, classes) from ``outputs`` (batch, classes) of the given kind.

    The softmax subtracts the largest logit first, so that it neither overflows nor loses the small ones.
    Outputs that are NaN, and infinite logits, give probabilities that are NaN.
    """
    values = outputs.astype(np.float64)
    if kind == "probabilities":
        return values
    if kind == "log_probabilities":
        return np.exp(values)
    with np.errstate(invalid="ignore"):
        exponentials = np.exp(values - values.max(axis=1, keepdims=True))
    shares: NDArray[np.float64] = exponentials / exponentials.sum(axis=1, keepdims=True)
    return shares
