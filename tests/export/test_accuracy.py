from __future__ import annotations

import math

import numpy as np
import pytest

from vgg_export.accuracy import compare_accuracy


def outputs(answers: list[int]) -> np.ndarray:
    """Outputs whose best class is the answer."""
    return np.eye(3, dtype=np.float32)[answers]


def compare(both_right: int, gained: int, lost: int, both_wrong: int = 0):
    """Two classifiers that agree or not on so many images, all of class 0."""
    eager = [0] * both_right + [1] * gained + [0] * lost + [1] * both_wrong
    variant = [0] * both_right + [0] * gained + [1] * lost + [2] * both_wrong
    return compare_accuracy([0] * len(eager), outputs(eager), outputs(variant))


def test_shares_of_right_answers() -> None:
    accuracy = compare(both_right=5, gained=1, lost=3, both_wrong=1)
    assert (accuracy.images, accuracy.eager, accuracy.variant) == (10, 0.8, 0.6)


@pytest.mark.parametrize(
    ("gained", "lost", "p_value"),
    [
        (0, 0, 1),
        (0, 1, 1),
        (1, 1, 1),
        (0, 5, 2 / 32),
        (5, 0, 2 / 32),
        (1, 6, 2 * (1 + 7) / 128),
        (2, 8, 2 * (1 + 10 + 45) / 1024),
        (3, 3, 1),
        (10, 10, 1),
    ],
)
def test_mcnemars_exact_test_by_hand(gained: int, lost: int, p_value: float) -> None:
    assert compare(30, gained, lost).p_value == pytest.approx(p_value)


def test_mcnemars_test_of_thousands_is_its_normal_approximation() -> None:
    p_value = compare(0, 1600, 1500).p_value
    z = (1600 - 1500 - 1) / math.sqrt(3100)
    assert p_value == pytest.approx(math.erfc(z / math.sqrt(2)), rel=0.01)


def test_the_interval_by_hand() -> None:
    """Agresti and Min (2005): 100 images, 3 gained and 8 lost, one half added to each of the four counts."""
    accuracy = compare(both_right=80, gained=3, lost=8, both_wrong=9)
    b, c, n = 3.5, 8.5, 102
    error = 1.96 * math.sqrt((b + c) / n - ((b - c) / n) ** 2) / math.sqrt(n)
    assert accuracy.low == pytest.approx(-5 / 102 - error, abs=1e-5)
    assert accuracy.high == pytest.approx(-5 / 102 + error, abs=1e-5)


def test_interval_of_equal_answers_is_not_empty() -> None:
    accuracy = compare(20, 0, 0)
    assert accuracy.low == -accuracy.high
    assert accuracy.high > 0.05


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    hits, trials = 0, 1000
    for _ in range(trials):
        gained, lost, same = random.multinomial(200, [0.03, 0.06, 0.91])
        accuracy = compare(int(same), int(gained), int(lost))
        hits += accuracy.low <= -0.03 <= accuracy.high
    assert 0.93 <= hits / trials <= 0.99
