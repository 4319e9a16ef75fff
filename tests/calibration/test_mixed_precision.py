from __future__ import annotations

import math
from dataclasses import replace

import pytest

from vgg_calibration.mixed_precision import AGREEMENT_STEP_DB, MARGIN_DB, AccuracyTarget, Goal, select_float_nodes
from vgg_calibration.statistics.sensitivity import LayerSensitivity
from vgg_runtime.bundle.manifest import ParityFigures, Tolerance

# Layer "a" makes the most noise for each of its bytes.
SENSITIVITY = [
    LayerSensitivity("a", "a.weight", "Conv", 10, 20.0),
    LayerSensitivity("b", "b.weight", "Conv", 1000, 30.0),
]

TOLERANCE = Tolerance("a test", min_snr_db=14, min_cosine=0.95, min_top1_agreement=0.93, min_top5_agreement=0.5)


def figures(snr_db: float | None) -> ParityFigures:
    return ParityFigures(8, (1,), 0.1, 0.1, snr_db, 1.0, 1.0, 1.0, 1.0, "a.png")


def outcome(in_float: frozenset[str]) -> ParityFigures:
    return figures({0: 30.0, 1: 40.0, 2: None}[len(in_float)])


def select(target: AccuracyTarget) -> frozenset[str] | None:
    return select_float_nodes(SENSITIVITY, target.is_met, outcome)


def test_nothing_goes_back_where_the_outcome_is_enough() -> None:
    assert select(AccuracyTarget(min_snr_db=30)) == frozenset()


def test_the_noisiest_layer_for_its_bytes_goes_back_first() -> None:
    assert select(AccuracyTarget(min_snr_db=35)) == {"a"}


def test_a_margin_is_asked_for_beyond_the_target() -> None:
    assert select(AccuracyTarget(min_snr_db=30 - MARGIN_DB).with_margin()) == frozenset()
    assert select(AccuracyTarget(min_snr_db=30).with_margin()) == {"a"}


def test_there_is_no_choice_where_all_would_go_back() -> None:
    assert select(AccuracyTarget(min_snr_db=300)) is None


@pytest.mark.parametrize(
    ("change", "met", "met_with_margin"),
    [
        ({}, True, True),
        ({"snr_db": 14.2}, True, False),
        ({"cosine": 0.951}, True, False),
        ({"top1_agreement_with_ties": 0.94}, True, False),
        ({"snr_db": 13.9}, False, False),
        ({"top1_agreement": 0.8}, False, False),
    ],
    ids=str,
)
def test_a_goal_is_the_tolerance_and_the_budget(change: dict[str, float], met: bool, met_with_margin: bool) -> None:
    goal = Goal(TOLERANCE, AccuracyTarget(min_agreement=0.9))
    reached = replace(figures(20.0), **change)
    assert (goal.is_met(reached), goal.with_margin().is_met(reached)) == (met, met_with_margin)


@pytest.mark.parametrize(
    ("target", "snr_db", "met"),
    [
        (AccuracyTarget(), -math.inf, True),
        (AccuracyTarget(min_snr_db=0), -1.0, False),
        (AccuracyTarget(min_snr_db=99), None, True),
    ],
)
def test_whether_a_target_is_met(target: AccuracyTarget, snr_db: float | None, met: bool) -> None:
    assert target.is_met(figures(snr_db)) == met


@pytest.mark.parametrize(
    ("target", "misses"),
    [
        (AccuracyTarget(min_agreement=0.9, min_snr_db=20), {}),
        (AccuracyTarget(min_agreement=0.9, min_snr_db=23), {"min_snr": "20 dB, at least 23"}),
        (AccuracyTarget(min_agreement=0.99, min_snr_db=9), {"min_agreement": "top-1 agreement 0.95, at least 0.99"}),
    ],
    ids=str,
)
def test_only_what_is_missed_of_a_target_is_named(target: AccuracyTarget, misses: dict[str, str]) -> None:
    assert target.misses(replace(figures(20.0), top1_agreement=0.95)) == misses


@pytest.mark.parametrize(
    ("target", "reached", "step"),
    [
        (AccuracyTarget(), figures(12.0), 2 + MARGIN_DB),
        (AccuracyTarget(min_snr_db=23), figures(22.0), 1 + MARGIN_DB),
        (AccuracyTarget(min_snr_db=23), replace(figures(24.0), top1_agreement_with_ties=0.9), AGREEMENT_STEP_DB),
    ],
)
def test_a_miss_raises_the_goal_by_what_it_lacks(target: AccuracyTarget, reached: ParityFigures, step: float) -> None:
    assert Goal(TOLERANCE, target).step_db(reached) == pytest.approx(step)


def test_a_raised_goal_keeps_the_budget() -> None:
    raised = Goal(TOLERANCE, AccuracyTarget(min_agreement=0.9)).with_min_snr(20)
    assert raised.is_met(figures(20.0))
    assert not raised.is_met(figures(19.9))
    assert not raised.is_met(replace(figures(20.0), top1_agreement=0.8))
