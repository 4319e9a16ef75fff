from __future__ import annotations

import math

import numpy as np
import pytest

from vgg_runtime.bundle.manifest import Tolerance
from vgg_runtime.metrics import compare, snr_db

REFERENCE = np.array([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [6.0, 5.0, 4.0, 3.0, 2.0, 1.0]], dtype=np.float32)
NAMES = ["up", "down"]
ANY = Tolerance("any", -1e9, -1.0, 0.0, 0.0)


def test_equal_outputs_have_no_noise() -> None:
    figures = compare(REFERENCE, REFERENCE.copy(), NAMES, batch_sizes=[1, 2])
    assert (figures.samples, figures.batch_sizes, figures.max_abs_error, figures.max_rel_error) == (2, (1, 2), 0, 0)
    assert figures.snr_db is None
    assert figures.cosine == pytest.approx(1)
    assert (figures.top1_agreement, figures.top5_agreement) == (1, 1)


def test_the_figures_are_those_of_the_formulas() -> None:
    actual = REFERENCE.copy()
    actual[1, 0] += 0.5
    figures = compare(REFERENCE, actual, NAMES)
    assert figures.max_abs_error == pytest.approx(0.5)
    assert figures.max_rel_error == pytest.approx(0.5 / 6)
    assert figures.snr_db == pytest.approx(10 * math.log10(182 / 0.25))
    assert figures.worst_sample == "down"
    x, y = REFERENCE[1], actual[1]
    assert figures.cosine == pytest.approx(float(x @ y / np.linalg.norm(x) / np.linalg.norm(y)))


def test_another_order_of_classes_is_a_disagreement() -> None:
    actual = REFERENCE.copy()
    actual[0] = [9.0, 2.0, 3.0, 4.0, 5.0, 6.0]  # the worst of six classes has become the best
    figures = compare(REFERENCE, actual, NAMES)
    assert figures.top1_agreement == 0.5
    assert figures.top5_agreement == pytest.approx(0.9)


def test_classes_that_tie_in_the_reference_may_change_places() -> None:
    reference = np.array([[1.0, 1.0 + 1e-6]], dtype=np.float32)
    assert compare(reference, reference[:, ::-1].copy(), ["tie"]).top1_agreement == 1


@pytest.mark.parametrize(("tie", "agreement"), [(0.0, 0.0), (0.1, 0.0), (0.5, 1.0)])
def test_classes_within_the_tie_may_change_places(tie: float, agreement: float) -> None:
    reference = np.array([[0.0, 0.8, 1.0]], dtype=np.float32)  # 0.2 is 0.47 of the standard deviation
    figures = compare(reference, reference[:, [0, 2, 1]], ["close"], tie=tie)
    assert (figures.top1_agreement, figures.top1_agreement_with_ties) == (0, agreement)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_output_that_is_not_finite_misses_everything(bad: float) -> None:
    actual = REFERENCE.copy()
    actual[0, 0] = bad
    figures = compare(REFERENCE, actual, NAMES)
    strict = Tolerance("strict", 0.0, 0.0, 0.1, 0.1)
    assert len(figures.misses(strict)) == 4
    assert figures.misses(ANY) == []


def test_outputs_that_are_all_zero_are_equal_only_to_themselves() -> None:
    zero, one = np.zeros((1, 3), np.float32), np.ones((1, 3), np.float32)
    assert compare(zero, zero, ["zero"]).cosine == 1
    assert compare(zero, one, ["zero"]).cosine == 0
    assert snr_db(zero, zero) == math.inf
    assert snr_db(zero, one) == -math.inf


@pytest.mark.parametrize(
    ("actual", "names"),
    [(REFERENCE[:1], NAMES), (REFERENCE[:, :3], NAMES), (REFERENCE, ["one name"])],
)
def test_shapes_that_do_not_fit_are_refused(actual: np.ndarray, names: list[str]) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        compare(REFERENCE, actual, names)


@pytest.mark.parametrize(("classes", "said"), [(5, False), (6, True)])
def test_top5_of_five_classes_or_fewer_is_not_said(classes: int, said: bool) -> None:
    reference = np.eye(classes, dtype=np.float32)
    figures = compare(reference, reference[::-1], [str(i) for i in range(classes)])
    assert (figures.top5_agreement is not None) == said
    demands = Tolerance("all", -999, -1, 0, min_top5_agreement=1.1)
    assert [miss.split()[0] for miss in figures.misses(demands)] == ["top-5"] * said


def test_the_centered_snr_leaves_out_the_mean_of_each_class() -> None:
    """Two samples that differ by 1 around 100, with noise of 0.05."""
    reference = np.array([[100.5, 0], [99.5, 0]], np.float32)
    figures = compare(reference, reference + np.float32([[0.05, 0]]), ["a", "b"])
    assert figures.snr_db == pytest.approx(20 * np.log10(100 / 0.05), abs=0.01)
    assert figures.centered_snr_db == pytest.approx(20 * np.log10(0.5 / 0.05), abs=0.01)


def test_equal_outputs_and_one_sample_have_no_centered_snr() -> None:
    reference = np.array([[1, 2], [3, 5]], np.float32)
    assert compare(reference, reference, ["a", "b"]).centered_snr_db is None
    assert compare(reference[:1], reference[1:], ["a"]).centered_snr_db is None


def test_constant_network_has_no_centered_signal() -> None:
    reference = np.array([[1, 2], [1, 2]], np.float32)
    figures = compare(reference, reference + np.float32(0.001), ["a", "b"])
    assert figures.snr_db > 60
    assert figures.centered_snr_db == -999
