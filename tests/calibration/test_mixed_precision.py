from __future__ import annotations

import math

import pytest

from vgg_calibration.layer_noise import LayerNoise
from vgg_calibration.mixed_precision import MARGIN_DB, Budget, choose_in_float
from vgg_runtime.errors import CalibrationError
from vgg_runtime.manifest import ParityFigures

# Layer "a" makes the most noise for each of its bytes.
NOISE = [LayerNoise("a", "a.weight", "Conv", 10, 20.0), LayerNoise("b", "b.weight", "Conv", 1000, 30.0)]


def figures(snr_db: float | None) -> ParityFigures:
    return ParityFigures(8, (1,), 0.1, 0.1, snr_db, 1.0, 1.0, 1.0, 1.0, "a.png")


def outcome(in_float: frozenset[str]) -> ParityFigures:
    return figures({0: 30.0, 1: 40.0, 2: None}[len(in_float)])


def test_nothing_goes_back_where_the_budget_is_met() -> None:
    assert choose_in_float(NOISE, Budget(min_snr_db=30 - MARGIN_DB), outcome) == frozenset()


def test_the_noisiest_layer_for_its_bytes_goes_back_first() -> None:
    assert choose_in_float(NOISE, Budget(min_snr_db=35), outcome) == {"a"}


def test_a_margin_is_asked_for_beyond_the_budget() -> None:
    assert choose_in_float(NOISE, Budget(min_snr_db=30), outcome) == {"a"}


def test_a_budget_out_of_reach_is_told_as_it_was_asked_for() -> None:
    with pytest.raises(CalibrationError, match=r"^300 dB is only reached with every layer in float"):
        choose_in_float(NOISE, Budget(min_snr_db=300), outcome)


@pytest.mark.parametrize(
    ("budget", "snr_db", "met"),
    [(Budget(), -math.inf, True), (Budget(min_snr_db=0), -1.0, False), (Budget(min_snr_db=99), None, True)],
)
def test_whether_a_budget_is_met(budget: Budget, snr_db: float | None, met: bool) -> None:
    assert budget.is_met(figures(snr_db)) == met
