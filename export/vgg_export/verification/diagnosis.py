"""What labelled samples say about the network itself, before its variants are compared with it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vgg_bench.analysis.accuracy import accuracy_with_interval
from vgg_bench.images import class_of_each
from vgg_bench.results import Estimate
from vgg_runtime.bundle.manifest import Diagnosis

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["describe", "diagnose"]

# A class counts as the answer for nearly all images from this share on.
NEARLY_ALL = 0.9

# The number of classes to name as examples of a permuted order.
EXAMPLES = 3


def diagnose(names: Sequence[str], labels: Sequence[str] | None, outputs: NDArray[np.float32]) -> Diagnosis | None:
    """Return the accuracy of the network on labelled samples and warnings, None if no sample is labelled.

    Args:
        names: paths of the samples, whose folders are named after labels.
        labels: one per class.
        outputs: outputs of the network, (samples, classes).
    """
    classes = [] if labels is None else class_of_each(names, labels)
    truth = [index for index in classes if index is not None]
    if labels is None or not truth:
        return None
    if len(truth) < len(classes):
        unlabelled = len(classes) - len(truth)
        warning = (
            f"{unlabelled} of {len(classes)} samples lie in folders that are not named after a label, so accuracy was "
            "not measured"
        )
        return Diagnosis(len(truth), warnings=(warning,))
    answers = outputs.argmax(axis=1)
    accuracy = accuracy_with_interval(answers.tolist(), truth)
    judgement = _Judgement(tuple(labels), np.asarray(truth), answers, accuracy)
    warnings = (judgement.chance(), judgement.one_class(), judgement.permuted())
    low, high = accuracy.interval or (None, None)
    return Diagnosis(len(truth), accuracy.value, low, high, tuple(filter(None, warnings)))


def describe(diagnosis: Diagnosis) -> list[str]:
    """Return the accuracy and the warnings as text, one line each."""
    lines = [f"warning: {warning}" for warning in diagnosis.warnings]
    if diagnosis.accuracy is None or diagnosis.low is None or diagnosis.high is None:
        return lines
    interval = f"{diagnosis.low:.1%} to {diagnosis.high:.1%}"
    return [
        f"accuracy of the original network on {diagnosis.images} labelled images: {diagnosis.accuracy:.1%} "
        f"(95% interval {interval})",
        *lines,
    ]


@dataclass(frozen=True)
class _Judgement:
    """The data for the warnings: arrays of one class index per image."""

    labels: tuple[str, ...]
    truth: NDArray[np.int64]
    answers: NDArray[np.int64]
    accuracy: Estimate

    def chance(self) -> str | None:
        """Warn if Wilson's interval contains the accuracy of guessing, or lies below it."""
        chance = 1 / len(self.labels)
        if self.accuracy.interval is None or self.accuracy.interval[0] > chance:
            return None
        return (
            f"an accuracy of {self.accuracy.value:.1%} cannot be told from chance ({chance:.1%} for {len(self.labels)} "
            f"classes) on {len(self.truth)} images; check `preprocess`, `labels` and the checkpoint"
        )

    def one_class(self) -> str | None:
        """Warn if one class is the answer for nearly all images, and for more of them than belong to it."""
        index = int(np.bincount(self.answers).argmax())
        answer_count, class_count = (int((classes == index).sum()) for classes in (self.answers, self.truth))
        share = accuracy_with_interval((self.answers == index).tolist(), [True] * len(self.truth))
        if share.value < NEARLY_ALL or share.interval is None or share.interval[0] <= class_count / len(self.truth):
            return None
        return (
            f"the answer is '{self.labels[index]}' for {answer_count} of {len(self.truth)} images ({share.value:.0%}), "
            f"but only {class_count} of them ({class_count / len(self.truth):.0%}) are of that class"
        )

    def permuted(self) -> str | None:
        """Warn if another order of the labels fits the answers far better.

        The assignment of labels is fitted to one half of the images and evaluated on the other, and vice versa: with as
        many classes as images it would fit anything. It is reported if its interval is above that of the accuracy.
        """
        halves = _alternate_within_classes(self.truth)
        right = np.zeros(len(self.truth), bool)
        for half in (halves, ~halves):
            right[~half] = self._assignment(half)[self.answers[~half]] == self.truth[~half]
        assigned = accuracy_with_interval(right.tolist(), [True] * len(right))
        if assigned.interval is None or assigned.interval[0] <= self.accuracy.greatest:
            return None
        assignment = self._assignment(np.ones(len(self.truth), bool))
        return (
            f"the order of the labels looks permuted: another one is right on {assigned.value:.1%} of images that it "
            f"was not fitted to. {self._examples(assignment)}{self._cause(assigned.interval[0])}"
        )

    def _assignment(self, images: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return the one-to-one assignment of answers to classes that makes most of ``images`` right."""
        from scipy.optimize import linear_sum_assignment

        counts = np.eye(len(self.labels)) / (2 * len(self.labels))  # without evidence a class stands for itself
        np.add.at(counts, (self.answers[images], self.truth[images]), 1)
        assignment: NDArray[np.int64] = linear_sum_assignment(counts, maximize=True)[1]
        return assignment

    def _examples(self, assignment: NDArray[np.int64]) -> str:
        """Name the classes with the most images of another class."""
        pairs = []
        for answer, true in enumerate(assignment.tolist()):
            classes = self.truth[self.answers == answer]
            if answer != true and (count := int((classes == true).sum())) > len(classes) / 2:
                pairs.append((count, len(classes), self.labels[answer], self.labels[true]))
        pairs.sort(key=lambda pair: -pair[0])
        examples = [f"predictions of '{a}' are mostly images of '{b}' ({n} of {all_})" for n, all_, a, b in pairs]
        return "; ".join(examples[:EXAMPLES]) + "."

    def _cause(self, min_accuracy: float) -> str:
        """Name a common order that explains the answers as well as the fitted one, with an accuracy from ``least``."""
        orders = {"alphabetical": sorted(self.labels), "numeric": sorted(self.labels, key=_by_number)}
        for name, order in orders.items():
            indices = np.array([self.labels.index(label) for label in order])
            if (indices[self.answers] == self.truth).mean() >= min_accuracy:
                beginning = ", ".join(order[:4])
                return f" The {name} order ({beginning}, ...) explains it: give `labels` in that order."
        return " Give `labels` in the order of the training."


def _alternate_within_classes(truth: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Select every other image of each class."""
    mask = np.zeros(len(truth), bool)
    for index in np.unique(truth):
        mask[np.flatnonzero(truth == index)[::2]] = True
    return mask


def _by_number(label: str) -> list[tuple[int, int, str]]:
    """A sort key by which numbers in names are ordered by value: 1, 2, 10."""
    parts = re.split(r"(\d+)", label)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]
