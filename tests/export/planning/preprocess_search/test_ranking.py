from __future__ import annotations

import numpy as np
import pytest

from vgg_export.planning.preprocess_search.candidates import Candidate
from vgg_export.planning.preprocess_search.ranking import PreprocessingSearch, rank_answers
from vgg_runtime.imaging.preprocessing import Preprocessing

IMAGES = 60
TRUTH = [i % 6 for i in range(IMAGES)]


def ranked(*wrong: range | list[int], inverted: bool = False) -> PreprocessingSearch:
    """Rank candidates a, b, c, ... that are right on all images but those listed."""
    candidates = [Candidate((name,), Preprocessing(), inverted) for name, _ in zip("abcdefgh", wrong, strict=False)]
    answers = []
    for missed in wrong:
        answer = np.array(TRUTH)
        answer[list(missed)] = (answer[list(missed)] + 1) % 6
        answers.append(answer)
    return rank_answers(candidates, answers, TRUTH, list("uvwxyz"))


def outcomes(search: PreprocessingSearch) -> dict[str, str]:
    return {trial.name: trial.outcome for trial in search.trials}


def test_trials_come_by_accuracy_with_intervals() -> None:
    search = ranked(range(30), range(6), range(12))
    assert [trial.name for trial in search.trials] == ["b", "c", "a"]
    assert [trial.accuracy.value for trial in search.trials] == [0.9, 0.8, 0.5]
    assert all(trial.accuracy.low < trial.accuracy.value < trial.accuracy.high for trial in search.trials)
    assert [round(trial.lead.value, 12) for trial in search.trials] == [0, 0.1, 0.4]


def test_a_rival_far_behind_is_worse() -> None:
    search = ranked(range(0), range(30))
    assert outcomes(search) == {"a": "best", "b": "worse"}
    assert search.trials[1].lead.low > 0
    assert search.contenders == (search.best,)


def test_a_rival_close_behind_is_not_told_apart() -> None:
    search = ranked(range(0), range(5))
    assert outcomes(search) == {"a": "best", "b": "not told apart"}
    assert [trial.name for trial in search.contenders] == ["a", "b"]


def test_more_rivals_need_more_evidence() -> None:
    """Holm by hand: 2/2^6 = 0.031 alone is below 0.05; beside two rivals as close, three times that is not."""
    assert outcomes(ranked([], range(6)))["b"] == "worse"
    close = ranked([], range(6), range(6, 12), range(12, 18))
    assert outcomes(close) == {"a": "best", "b": "not told apart", "c": "not told apart", "d": "not told apart"}
    assert [trial.p_value for trial in close.trials[1:]] == pytest.approx([3 * 2 / 2**6] * 3)


def test_clear_rivals_leave_the_closest_one_its_own_p_value() -> None:
    """Holm, not Bonferroni: what is told apart already does not count for the next."""
    search = ranked([], range(6), range(30), range(40))
    assert outcomes(search) == {"a": "best", "b": "worse", "c": "worse", "d": "worse"}
    assert search.trials[1].p_value == pytest.approx(2 / 2**6)


def test_equal_answers_are_a_tie_that_the_first_wins() -> None:
    search = ranked(range(30), [1], [1])
    assert outcomes(search) == {"b": "best", "c": "same answers", "a": "worse"}
    assert [trial.name for trial in search.same_answers] == ["c"]
    assert search.contenders == (search.best,)
    assert search.runner_up is not None
    assert search.runner_up.name == "a"


def test_as_many_right_on_other_images_is_no_tie() -> None:
    assert outcomes(ranked([1], [2])) == {"a": "best", "b": "not told apart"}


def test_one_answer_to_all_images_is_chance() -> None:
    constant = rank_answers([Candidate(("a",), Preprocessing())], [np.full(IMAGES, 2)], TRUTH, list("uvwxyz"))
    assert (constant.chance, constant.beats_chance) == (1 / 6, False)


def test_images_of_one_class_cannot_beat_chance() -> None:
    one = rank_answers([Candidate(("a",), Preprocessing())], [np.zeros(IMAGES, np.intp)], [0] * IMAGES, ["u"])
    assert (one.chance, one.common_class, one.beats_chance) == (1.0, "u", False)


def test_a_network_that_sees_the_images_beats_chance() -> None:
    assert ranked(range(20)).beats_chance
    assert not ranked(range(48)).beats_chance
