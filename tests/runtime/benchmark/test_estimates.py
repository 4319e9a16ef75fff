from __future__ import annotations

import numpy as np
import pytest

from vgg_runtime.benchmark import estimates
from vgg_runtime.benchmark.results import Estimate


def drawn(seed: int, *, rounds: int = 5, calls: int = 40, drift: float = 0.0, scale: float = 0.01) -> np.ndarray:
    """Latencies in seconds (rounds, calls) whose rounds drift apart by ``drift``, a share of the latency."""
    generator = np.random.default_rng(seed)
    state = 1 + drift * generator.standard_normal((rounds, 1))
    return scale * state * (1 + 0.05 * np.abs(generator.standard_normal((rounds, calls))))


def test_figures_of_known_calls() -> None:
    found = estimates.latency([[0.001, 0.002, 0.003], [0.004, 0.1]], batch_size=8, copies=[0.001, 0.0005, 0.0007])
    assert found.p50.value == pytest.approx(3)
    assert found.p90.value == pytest.approx(np.percentile([1, 2, 3, 4, 100], 90))
    assert found.p99.value == pytest.approx(np.percentile([1, 2, 3, 4, 100], 99))
    assert found.minimum.value == pytest.approx(1)
    assert found.mean.value == pytest.approx(22)
    assert found.images_per_second.value == pytest.approx(8 / 0.022)
    assert found.copies is not None
    assert found.copies.value == pytest.approx(0.7)
    for each in (found.p50, found.p90, found.p99, found.minimum, found.mean, found.images_per_second):
        assert each.low <= each.value <= each.high


def test_equal_calls_leave_no_doubt() -> None:
    found = estimates.latency([[0.002] * 3] * 2, batch_size=1)
    assert found.p50 == found.p99 == found.minimum == Estimate(2, 2, 2)
    assert found.copies is None


def test_an_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """Where rounds drift, an interval of calls alone would be far too narrow. The true median ratio is 1."""
    inside = 0
    for seed in range(40):
        found = estimates.ratio(drawn(seed, drift=0.03), drawn(1000 + seed, drift=0.03))
        inside += found.low <= 1 <= found.high
    assert inside >= 36


def test_more_rounds_narrow_an_interval() -> None:
    def width(rounds: int) -> float:
        found = [estimates.latency(drawn(seed, rounds=rounds, drift=0.03), 1).p50 for seed in range(4)]
        return sum(each.high - each.low for each in found)

    assert width(30) < width(4) / 1.5


def test_a_drift_that_both_share_cancels_out_of_the_ratio() -> None:
    baseline = drawn(0, drift=0.3, calls=200)
    ours = 2 * baseline + 1e-6
    latency, ratio = estimates.latency(ours, 1).p50, estimates.ratio(ours, baseline)
    assert ratio.value == pytest.approx(2, rel=0.01)
    assert ratio.high / ratio.low < 1.03
    assert latency.high / latency.low > 1.1


def test_rounds_that_one_of_two_lacks_are_left_out() -> None:
    found = estimates.ratio([[2.0], [4.0], [90.0]], [[1.0], [2.0]])
    assert found == Estimate(2, 2, 2)


def test_of_one_round_the_calls_alone_tell() -> None:
    found = estimates.median_of([0.5])
    assert found == Estimate(0.5, 0.5, 0.5)
    latency = estimates.latency([[0.001, 0.002, 0.003]], 1)
    assert latency.p50.low < latency.p50.value < latency.p50.high


def test_noise_is_how_far_a_second_measurement_is_from_the_first() -> None:
    assert estimates.noise([[1.0], [1.0], [1.0]], [[1.03], [0.96], [7.0]]) == pytest.approx(0.04)
    assert estimates.noise([[1.0], [2.0]], [[1.0], [2.0], [9.0]]) == 0


def test_one_round_that_was_disturbed_does_not_decide() -> None:
    """Nine rounds are what a run takes by default."""
    disturbed = drawn(0, rounds=9, calls=4, drift=0.01)
    disturbed[4] *= 3
    p50, ratio = estimates.latency(disturbed, 1).p50, estimates.ratio(disturbed, drawn(1, rounds=9, calls=4))
    assert p50.high < 1.2 * p50.value
    assert ratio.high < 1.2


def test_statistics_are_the_same_each_time() -> None:
    assert estimates.latency(drawn(0), 1) == estimates.latency(drawn(0), 1)
