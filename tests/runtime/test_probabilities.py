from __future__ import annotations

import numpy as np
import pytest

from vgg_runtime.bundle.manifest import OutputKind
from vgg_runtime.metrics import probabilities

SHARES = np.array([[0.1, 0.2, 0.7], [1 / 3, 1 / 3, 1 / 3]])


@pytest.mark.parametrize(
    ("kind", "outputs"),
    [("probabilities", SHARES), ("log_probabilities", np.log(SHARES)), ("logits", np.log(SHARES) + 42)],
)
def test_all_three_kinds_give_the_same_probabilities(kind: OutputKind, outputs: np.ndarray) -> None:
    np.testing.assert_allclose(probabilities(outputs.astype(np.float32), kind), SHARES, rtol=1e-5)


def test_large_logits_do_not_overflow() -> None:
    shares = probabilities(np.array([[3e38, 0.0, -3e38]], dtype=np.float32), "logits")
    np.testing.assert_array_equal(shares, [[1, 0, 0]])


@pytest.mark.parametrize("logits", [[np.nan, 0.0], [np.inf, 0.0], [-np.inf, -np.inf]])
def test_logits_that_stand_for_no_probability_give_nan(logits: list[float]) -> None:
    assert np.isnan(probabilities(np.array([logits], dtype=np.float32), "logits")).any()


def test_a_class_may_be_impossible() -> None:
    shares = probabilities(np.array([[-np.inf, 0.0]], dtype=np.float32), "log_probabilities")
    np.testing.assert_array_equal(shares, [[0, 1]])
