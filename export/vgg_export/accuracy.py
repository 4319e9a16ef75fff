"""Accuracy of a variant and of eager PyTorch, on labelled sample images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from vgg_bench.analysis._scipy import import_scipy_stats
from vgg_runtime.bundle.manifest import Accuracy

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["compare_accuracy"]


def compare_accuracy(truth: Sequence[int], eager: NDArray[np.float32], variant: NDArray[np.float32]) -> Accuracy:
    """Compare two classifiers on the same images.

    The interval is Agresti and Min's for paired proportions (Statistics in Medicine 24 (2005), 729-740): Wald's with
    one half added to each of the four counts. The test is McNemar's exact one, on the images that only one gets right.

    Args:
        truth: class of each image.
        eager, variant: outputs (images, classes).
    """
    right_before = eager.argmax(axis=1) == np.asarray(truth)
    right_after = variant.argmax(axis=1) == np.asarray(truth)
    gained = int((right_after & ~right_before).sum())
    lost = int((right_before & ~right_after).sum())
    low, high = _interval(gained, lost, len(truth))
    return Accuracy(
        images=len(truth),
        eager=float(right_before.mean()),
        variant=float(right_after.mean()),
        low=low,
        high=high,
        p_value=_mcnemar(gained, lost),
    )


def _interval(gained: int, lost: int, images: int) -> tuple[float, float]:
    b, c, n = gained + 0.5, lost + 0.5, images + 2
    difference = (b - c) / n
    error = float(import_scipy_stats().norm.ppf(0.975)) * (b + c - (b - c) ** 2 / n) ** 0.5 / n
    return difference - error, difference + error


def _mcnemar(gained: int, lost: int) -> float:
    """Two-sided binomial probability of a split at least this uneven, if either is as likely."""
    if gained == lost == 0:
        return 1.0
    return float(import_scipy_stats().binomtest(gained, gained + lost).pvalue)
