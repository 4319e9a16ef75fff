"""Ranking of preprocessing candidates by paired comparisons on the same images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from vgg_bench.analysis.accuracy import accuracy_with_interval
from vgg_bench.results import Estimate
from vgg_export.accuracy import compare_accuracy
from vgg_export.planning.preprocess_search.candidates import Candidate
from vgg_runtime.bundle.manifest import Accuracy
from vgg_runtime.imaging.preprocessing import Preprocessing

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SIGNIFICANCE", "Outcome", "PreprocessingSearch", "Trial", "rank_answers"]

Outcome = Literal["best", "same answers", "not told apart", "worse"]

SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class Trial:
    """One candidate on the labelled images.

    Attributes:
        names: its names; several if candidates are equivalent for these images.
        inverted: whether the network got 255 - x, which no Preprocessing does.
        accuracy: share of right answers, 0 to 1, with its Wilson interval.
        lead: accuracy of the best candidate minus this one's, with its 95 % interval for paired proportions.
        p_value: of McNemar's exact test of equal accuracy, with Holm's correction for the number of comparisons with
            the best.
        outcome: "same answers" means those of the best on every image; "worse" a ``p_value`` below SIGNIFICANCE.
    """

    names: tuple[str, ...]
    preprocessing: Preprocessing
    inverted: bool
    accuracy: Estimate
    lead: Estimate
    p_value: float
    outcome: Outcome

    @property
    def name(self) -> str:
        return " = ".join(self.names)


@dataclass(frozen=True)
class PreprocessingSearch:
    """The result of a search.

    Attributes:
        images: labelled images that every candidate was tried on.
        trials: sorted by accuracy; of equal ones, the more common comes first.
        common_class: label of the most frequent class among the images.
        chance: its share, which is the accuracy of a network that always predicts it.
        chance_p_value: as for the trials, of the best candidate against always predicting that class.
    """

    images: int
    trials: tuple[Trial, ...]
    common_class: str
    chance: float
    chance_p_value: float

    @property
    def best(self) -> Trial:
        return self.trials[0]

    @property
    def runner_up(self) -> Trial | None:
        """The most accurate candidate whose answers differ from the best."""
        return next((trial for trial in self.trials if trial.outcome in ("not told apart", "worse")), None)

    @property
    def beats_chance(self) -> bool:
        return self.best.accuracy.value > self.chance and self.chance_p_value < SIGNIFICANCE

    @property
    def contenders(self) -> tuple[Trial, ...]:
        """The best and those not told apart from it: one if the search is clear."""
        return tuple(trial for trial in self.trials if trial.outcome in ("best", "not told apart"))

    @property
    def same_answers(self) -> tuple[Trial, ...]:
        """The candidates that no image distinguishes from the best."""
        return tuple(trial for trial in self.trials if trial.outcome == "same answers")


def rank_answers(
    candidates: Sequence[Candidate],
    answers: Sequence[NDArray[np.intp]],
    truth: Sequence[int],
    labels: Sequence[str],
) -> PreprocessingSearch:
    """Compare the most accurate candidate with every other one, and with a network that ignores the image.

    Holm's step-down procedure (Scandinavian Journal of Statistics 6 (1979), 65-70) limits the probability of
    wrongly calling any of them worse to SIGNIFICANCE.

    Args:
        candidates: from common to less common: of equally accurate candidates, the first counts as the best.
        answers: for each candidate, the predicted class of each image (images,).
        truth: class of each image.
    """
    accuracies = [accuracy_with_interval(answer.tolist(), truth) for answer in answers]
    best = max(range(len(candidates)), key=lambda i: accuracies[i].value)  # the first of equally accurate ones
    common, count = Counter(truth).most_common(1)[0]
    rivals = [*answers, np.full(len(truth), common)]
    comparisons = [compare_accuracy(truth, _one_hot(rival), _one_hot(answers[best])) for rival in rivals]
    same = [np.array_equal(answer, answers[best]) for answer in answers]
    p_values = _holm([comparison.p_value for comparison in comparisons], [*same, False])
    trials = [
        Trial(
            names=candidate.names,
            preprocessing=candidate.preprocessing,
            inverted=candidate.inverted,
            accuracy=accuracies[i],
            lead=_lead(comparisons[i]),
            p_value=p_values[i],
            outcome="best" if i == best else _outcome(same[i], p_values[i]),
        )
        for i, candidate in enumerate(candidates)
    ]
    return PreprocessingSearch(
        images=len(truth),
        trials=tuple(sorted(trials, key=lambda trial: (-trial.accuracy.value, trial.outcome != "best"))),
        common_class=labels[common],
        chance=count / len(truth),
        chance_p_value=p_values[-1],
    )


def _lead(comparison: Accuracy) -> Estimate:
    """How much more accurate the best is; the formula of the interval may exceed 100 points."""
    return Estimate(comparison.variant - comparison.eager, max(comparison.low, -1.0), min(comparison.high, 1.0))


def _outcome(same: bool, p_value: float) -> Outcome:
    if same:
        return "same answers"
    return "worse" if p_value < SIGNIFICANCE else "not told apart"


def _one_hot(answers: NDArray[np.intp]) -> NDArray[np.float32]:
    """One-hot outputs whose best class is the answer."""
    outputs: NDArray[np.float32] = np.eye(answers.max() + 1, dtype=np.float32)[answers]
    return outputs


def _holm(p_values: Sequence[float], left_out: Sequence[bool]) -> list[float]:
    """Return the corrected p-values; 1 for those that are not compared."""
    corrected, so_far = [1.0] * len(p_values), 0.0
    order = sorted((i for i, out in enumerate(left_out) if not out), key=lambda i: p_values[i])
    for position, i in enumerate(order):
        so_far = max(so_far, min(1.0, (len(order) - position) * p_values[i]))
        corrected[i] = so_far
    return corrected
