"""Whether a network ends in logits, LogSoftmax or Softmax, judging by its outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vgg_runtime.bundle.manifest import OutputKind
from vgg_runtime.errors import ArchitectureError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["detect_output_kind", "output_assumptions"]

# float32 sums of a thousand terms are exact to about 1e-5.
_SUM_TOLERANCE = 1e-3


def detect_output_kind(outputs: NDArray[np.float32]) -> OutputKind:
    """Return the kind of ``outputs`` (samples, classes) of several different images.

    Rows in 0..1 that sum to one are probabilities; rows whose exponentials do so are log-probabilities. That logits are
    normalized like that on every sample by chance is very unlikely.

    Raises:
        ArchitectureError: there is only one output, which any kind would turn into a certain prediction.
    """
    if outputs.shape[1] < 2:
        raise ArchitectureError(
            "the network gives one number per image; a classifier gives one for each of two or more classes.",
            hint="If it is the single logit z of a binary classifier, wrap it in a module that returns (0, z): "
            "`model='MODULE:CALLABLE'`.",
        )
    values = outputs.astype(np.float64)
    if (values >= 0).all() and _sum_to_one(values):
        return "probabilities"
    if (values <= 0).all() and _sum_to_one(np.exp(values)):
        return "log_probabilities"
    return "logits"


def output_assumptions(outputs: NDArray[np.float32], kind: OutputKind) -> tuple[str, ...]:
    """Return what is assumed of ``outputs`` if they might as well come from a sigmoid per class."""
    if kind != "logits" or outputs.min() < 0 or outputs.max() > 1:
        return ()
    return (
        "the outputs are logits, though all of them lie in 0..1; if the network ends in a Sigmoid, leave that out "
        "(`model='MODULE:CALLABLE'`): the probabilities are wrong with it",
    )


def _sum_to_one(values: NDArray[np.float64]) -> bool:
    return bool(np.allclose(values.sum(axis=1), 1, rtol=0, atol=_SUM_TOLERANCE))
