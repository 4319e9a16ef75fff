from __future__ import annotations

import numpy as np
import pytest

from vgg_export.output_kind import detect_output_kind

LOGITS = np.random.default_rng(0).normal(scale=4, size=(7, 1000)).astype(np.float32)
SHARES = (np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize(
    ("outputs", "kind"),
    [
        (LOGITS, "logits"),
        (-np.abs(LOGITS), "logits"),
        (np.abs(LOGITS), "logits"),
        (SHARES, "probabilities"),
        (np.log(SHARES), "log_probabilities"),
        (1 / (1 + np.exp(-LOGITS)), "logits"),  # one sigmoid per class
        (np.vstack([SHARES[:3], 2 * SHARES[3:]]), "logits"),
        (np.ones((7, 1)), "logits"),  # one class: nothing to tell
        (np.zeros((7, 3)), "logits"),
    ],
)
def test_kind_of(outputs: np.ndarray, kind: str) -> None:
    assert detect_output_kind(outputs.astype(np.float32)) == kind


def test_one_certain_class_is_a_probability() -> None:
    assert detect_output_kind(np.eye(5, dtype=np.float32)) == "probabilities"
