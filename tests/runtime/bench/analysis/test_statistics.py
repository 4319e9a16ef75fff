from __future__ import annotations

import sys

import numpy as np
import pytest

from vgg_bench.analysis import statistics
from vgg_bench.results import Estimate
from vgg_runtime.errors import MissingCapabilityError


def drawn(seed: int, *, rounds: int = 5, calls: int = 40, drift: float = 0.0, scale: float = 0.01) -> np.ndarray:
    """Latencies in seconds (rounds, calls) whose rounds drift apart by ``drift``, a share of the latency."""
    generator = np.random.default_rng(seed)
    state = 1 + drift * generator.standard_normal((rounds, 1))
    return scale * state * (1 + 0.05 * np.abs(generator.standard_normal((rounds, calls))))


def test_figures_of_known_calls() -> None:
    estimates = statistics.latency([[0.001, 0.002, 0.003], [0.004, 0.1]], batch_size=8, copies=[0.001, 0.0005, 0.0007])
    assert estimates.p50.value == pytest.approx(3)
    assert estimates.p90.value == pytest.approx(np.percentile([1, 2, 3, 4, 100], 90))
    assert estimates.minimum.value == pytest.approx(1)
    assert estimates.mean.value == pytest.approx(22)
    assert estimates.images_per_second.value == pytest.approx(8 / 0.022)
    assert estimates.copies is not None
    assert estimates.copies.value == pytest.approx(0.7)
    for each in (estimates.p50, estimates.p90, estimates.minimum, estimates.mean, estimates.images_per_second):
        assert each.low <= each.value <= each.high


def test_equal_calls_leave_no_doubt() -> None:
    estimates = statistics.latency([[0.002] * 3] * 2, batch_size=1)
    assert estimates.p50 == estimates.p90 == estimates.minimum == Estimate(2, 2, 2)
    assert estimates.copies is None


def test_an_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """Where rounds drift, an interval of calls alone would be far too narrow. The true median ratio is 1."""
    inside = 0
    for seed in range(40):
        estimate = statistics.ratio(drawn(seed, drift=0.03), drawn(1000 + seed, drift=0.03))
        inside += estimate.low <= 1 <= estimate.high
    assert inside >= 36


def test_more_rounds_narrow_an_interval() -> None:
    def width(rounds: int) -> float:
        estimates = [statistics.latency(drawn(seed, rounds=rounds, drift=0.03), 1).p50 for seed in range(4)]
        return sum(each.high - each.low for each in estimates)

    assert width(30) < width(4) / 1.5


def test_a_drift_that_both_share_cancels_out_of_the_ratio() -> None:
    baseline = drawn(0, drift=0.3, calls=200)
    ours = 2 * baseline + 1e-6
    latency, ratio = statistics.latency(ours, 1).p50, statistics.ratio(ours, baseline)
    assert ratio.value == pytest.approx(2, rel=0.01)
    assert ratio.high / ratio.low < 1.03
    assert latency.high / latency.low > 1.1


def test_rounds_that_one_of_two_lacks_are_left_out() -> None:
    estimate = statistics.ratio([[2.0], [4.0], [90.0]], [[1.0], [2.0]])
    assert estimate == Estimate(2, 2, 2)


def test_one_round_has_no_interval() -> None:
    assert statistics.median_of([0.5]) == Estimate(0.5, None, None)
    latency = statistics.latency([[0.001, 0.002, 0.003]], 1, copies=[0.001])
    assert latency.p50 == Estimate(pytest.approx(2), None, None)
    assert latency.images_per_second == Estimate(pytest.approx(500), None, None)
    assert latency.copies == Estimate(pytest.approx(1), None, None)
    assert statistics.ratio([[2.0, 2.1]], [[1.0]]).interval is None


def test_of_few_rounds_the_interval_is_students() -> None:
    """Two rounds: the mean logarithm with 12.706 standard errors, t's 97.5 % quantile of one degree of freedom."""
    estimate = statistics.median_of([1.0, 1.1])
    middle, error = np.log(1.1) / 2, np.std(np.log([1.0, 1.1]), ddof=1) / np.sqrt(2)
    assert estimate.value == pytest.approx(1.05)
    assert estimate.interval == pytest.approx(
        (np.exp(middle - 12.706 * error), np.exp(middle + 12.706 * error)), rel=1e-4
    )


@pytest.mark.parametrize("rounds", [2, 3, 5])
def test_of_few_rounds_it_covers_as_often_as_it_says(rounds: int) -> None:
    """A bootstrap of so few stays within their span and would cover 50, 75 and 94 % at most."""
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        low, high = statistics.median_of(list(np.exp(0.1 * generator.standard_normal(rounds)))).interval
        covered += low <= 1 <= high
    assert covered >= 0.92 * 400


def test_a_p99_takes_a_hundred_calls() -> None:
    calls = [0.001 * (i + 1) for i in range(50)]
    assert statistics.latency([calls, calls[1:]], 1).p99 is None
    estimates = statistics.latency([calls, calls], 1)
    assert estimates.p99.value == pytest.approx(np.percentile([call * 1e3 for call in calls * 2], 99))


def test_without_scipy_what_to_install_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    with pytest.raises(MissingCapabilityError, match="scipy") as missing:
        statistics.median_of([1.0, 2.0])
    assert missing.value.hint == 'pip install "vgg-deploy[report]"'


def test_noise_is_the_distance_of_a_second_measurement() -> None:
    assert statistics.noise([[1.0], [1.0], [1.0]], [[1.03], [0.96], [7.0]]) == pytest.approx(0.04)
    assert statistics.noise([[1.0], [2.0]], [[1.0], [2.0], [9.0]]) == 0


def test_one_round_that_was_disturbed_does_not_decide() -> None:
    """Nine rounds are what a run takes by default."""
    disturbed = drawn(0, rounds=9, calls=4, drift=0.01)
    disturbed[4] *= 3
    p50, ratio = statistics.latency(disturbed, 1).p50, statistics.ratio(disturbed, drawn(1, rounds=9, calls=4))
    assert p50.high < 1.2 * p50.value
    assert ratio.high < 1.2


def test_statistics_are_the_same_each_time() -> None:
    assert statistics.latency(drawn(0), 1) == statistics.latency(drawn(0), 1)
