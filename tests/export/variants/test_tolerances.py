from __future__ import annotations

import numpy as np

from vgg_export.variants.tolerances import FLOAT_ROUNDING
from vgg_runtime.metrics import compare

OUTPUTS = np.random.default_rng(0).normal(scale=3, size=(12, 10)).astype(np.float32)


def misses(actual: np.ndarray) -> list[str]:
    return compare(OUTPUTS, actual.astype(np.float32), ["sample"] * 12).misses(FLOAT_ROUNDING)


def test_float_rounding_passes() -> None:
    assert not misses(OUTPUTS * (1 + 1e-6))


def test_half_precision_misses() -> None:
    assert misses(OUTPUTS.astype(np.float16))


def test_nan_misses() -> None:
    assert misses(np.where(np.eye(12, 10, dtype=bool), np.nan, OUTPUTS))
