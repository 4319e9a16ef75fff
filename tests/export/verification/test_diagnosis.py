from __future__ import annotations

import numpy as np
import pytest

from vgg_export.verification.diagnosis import describe, diagnose
from vgg_runtime.bundle.manifest import Diagnosis

LABELS = ("cat", "dog", "elk", "fox", "hen")


def diagnosed(truth: list[int], answers: list[int], labels: tuple[str, ...] = LABELS) -> Diagnosis:
    names = [f"{labels[true]}/{i}.png" for i, true in enumerate(truth)]
    diagnosis = diagnose(names, labels, np.eye(len(labels), dtype=np.float32)[answers])
    assert diagnosis is not None
    return diagnosis


def cycle(count: int, classes: int = 5) -> list[int]:
    return [i % classes for i in range(count)]


def test_a_good_network_has_an_interval_and_no_warning() -> None:
    answers = [*cycle(90), *[0] * 10]
    diagnosis = diagnosed(cycle(100), answers)
    assert (diagnosis.images, diagnosis.accuracy, diagnosis.warnings) == (100, 0.92, ())
    assert (diagnosis.low, diagnosis.high) == pytest.approx((0.8500, 0.9589), abs=1e-4)
    assert describe(diagnosis) == [
        "accuracy of the original network on 100 labelled images: 92.0% (95% interval 85.0% to 95.9%)"
    ]


def test_one_class_for_all_is_named_and_at_chance() -> None:
    diagnosis = diagnosed(cycle(70), [4] * 70)
    chance, one_class = diagnosis.warnings
    assert "20.0% cannot be told from chance (20.0% for 5 classes) on 70 images" in chance
    assert one_class == "the answer is 'hen' for 70 of 70 images (100%), but only 14 of them (20%) are of that class"


def test_images_that_are_of_one_class_do_not_warn() -> None:
    assert diagnosed([4] * 70, [4] * 70).warnings == ()


@pytest.mark.parametrize(("images", "warned"), [(5, True), (40, False)])
def test_chance_is_judged_by_the_interval(images: int, warned: bool) -> None:
    """Of five images two right are 40 %, twice the chance, and tell nothing; of forty they do."""
    truth = cycle(images)
    answers = [true if i % 5 < 2 else (true + 1 + i // 5 % 4) % 5 for i, true in enumerate(truth)]
    assert ("cannot be told from chance" in " ".join(diagnosed(truth, answers).warnings)) == warned


def test_a_permuted_order_is_found_and_named() -> None:
    order = [2, 0, 1, 3, 4]
    truth = cycle(60)
    warning = diagnosed([order[answer] for answer in truth], truth).warnings[-1]
    assert "another one is right on 100.0% of images that it was not fitted to" in warning
    assert "predictions of 'cat' are mostly images of 'elk' (12 of 12)" in warning
    assert warning.endswith("Give `labels` in the order of the training.")


@pytest.mark.parametrize("bundle", ["numeric", "alphabetical"])
def test_numbers_sorted_as_text_are_the_cause(bundle: str) -> None:
    numeric = tuple(str(i) for i in range(1, 13))
    labels, trained = (numeric, sorted(numeric)) if bundle == "numeric" else (tuple(sorted(numeric)), numeric)
    answers = cycle(60, 12)
    warning = diagnosed([labels.index(trained[answer]) for answer in answers], answers, labels).warnings[-1]
    order = "alphabetical order (1, 10, 11, 12, ...)" if bundle == "numeric" else "numeric order (1, 2, 3, 4, ...)"
    assert f"The {order} explains it: give `labels` in that order." in warning


def test_random_answers_fit_no_order() -> None:
    """With three images of each of fifty classes an order fitted to all of them would be right on far more."""
    labels = tuple(f"class {i}" for i in range(50))
    generator = np.random.default_rng(0)
    for _ in range(20):
        diagnosis = diagnosed(cycle(150, 50), generator.integers(50, size=150).tolist(), labels)
        assert not [warning for warning in diagnosis.warnings if "permuted" in warning]


def test_partly_labelled_samples_say_so() -> None:
    outputs = np.zeros((3, 5), np.float32)
    diagnosis = diagnose(["cat/1.png", "dog/2.png", "zebra/3.png"], LABELS, outputs)
    assert diagnosis is not None
    assert diagnosis.accuracy is None
    assert describe(diagnosis) == [
        "warning: 1 of 3 samples lie in folders that are not named after a label, so accuracy was not measured"
    ]


def test_without_labels_there_is_no_diagnosis() -> None:
    outputs = np.zeros((1, 5), np.float32)
    assert diagnose(["zebra/1.png"], LABELS, outputs) is None
    assert diagnose(["cat/1.png"], None, outputs) is None
