from __future__ import annotations

import numpy as np
import pytest

from vgg_export.verification.output_kind import detect_output_kind, output_assumptions
from vgg_runtime.errors import ArchitectureError

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
        (np.zeros((7, 3)), "logits"),
    ],
)
def test_kind_of(outputs: np.ndarray, kind: str) -> None:
    assert detect_output_kind(outputs.astype(np.float32)) == kind


def test_one_certain_class_is_a_probability() -> None:
    assert detect_output_kind(np.eye(5, dtype=np.float32)) == "probabilities"


@pytest.mark.parametrize("value", [0.0, 1.0, 7.5, -3.0])
def test_single_output_is_refused(value: float) -> None:
    with pytest.raises(ArchitectureError, match="one number per image") as refused:
        detect_output_kind(np.full((7, 1), value, np.float32))
    assert "`model='MODULE:CALLABLE'`" in refused.value.hint


def test_what_may_be_a_sigmoid_per_class_is_said() -> None:
    (said,) = output_assumptions(1 / (1 + np.exp(-LOGITS)), "logits")
    assert "Sigmoid" in said
    assert output_assumptions(LOGITS, "logits") == ()
    assert output_assumptions(SHARES, "probabilities") == ()
