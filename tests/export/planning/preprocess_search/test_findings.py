from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from vgg_bench.results import Estimate
from vgg_export.planning.preprocess_search.findings import findings, require_clear, table_as_text
from vgg_export.planning.preprocess_search.ranking import Outcome, PreprocessingSearch, Trial
from vgg_export.planning.preprocess_spec import resolve_preprocessing
from vgg_runtime.errors import PreprocessingError
from vgg_runtime.imaging.preprocessing import Preprocessing
from vgg_runtime.imaging.presets import preset

SIZE = (32, 32)
SWAPPED = Preprocessing("BGR", resize=SIZE, divide_by=1.0, mean=(1.5, 2.5, 3.5))


def trial(name: str, accuracy: float, outcome: Outcome = "worse", **changes: object) -> Trial:
    made = Trial(
        names=tuple(name.split(" = ")),
        preprocessing=preset("half", SIZE, 3),
        inverted=False,
        accuracy=Estimate(accuracy, accuracy - 0.05, accuracy + 0.04),
        lead=Estimate(0.1, 0.02, 0.18),
        p_value=0.01,
        outcome=outcome,
    )
    return replace(made, **changes)


def search(*trials: Trial, chance_p_value: float = 0.0) -> PreprocessingSearch:
    return PreprocessingSearch(100, trials, common_class="cat", chance=0.25, chance_p_value=chance_p_value)


def refusal(*trials: Trial, chance_p_value: float = 0.0) -> PreprocessingError:
    with pytest.raises(PreprocessingError) as refused:
        require_clear(search(*trials, chance_p_value=chance_p_value))
    return refused.value


def test_a_clear_best_is_told_with_its_interval_and_the_next() -> None:
    clear = search(trial("half", 0.9, "best"), trial("half BGR", 0.9, "same answers"), trial("plain", 0.7))
    require_clear(clear)
    finding, tie, _ = findings(clear, sample_count=150, held_out=True)
    assert "90.0% (85.0 to 94.0) on 100 labelled samples; next: plain, 70.0%" in finding
    assert '"mean": [0.5, 0.5, 0.5]' in finding
    assert "training used half, " in tie
    assert tie.endswith("same answers on every sample: half BGR")


@pytest.mark.parametrize(("held_out", "sentence"), [(True, "150 samples .* kept out"), (False, "samples that chose")])
def test_the_images_to_verify_on_are_told(held_out: bool, sentence: str) -> None:
    *_, last = findings(search(trial("half", 0.9, "best")), sample_count=150, held_out=held_out)
    assert re.search(sentence, last)


def test_a_refusal_shows_all_that_was_tried() -> None:
    trials = (trial("half", 0.9, "best"), trial("plain", 0.89, "not told apart"), trial("caffe = caffe RGB", 0.2))
    message = refusal(*trials).message
    assert "do not tell 2 ways of preprocessing apart (100 images)" in message
    for line in table_as_text(search(*trials)):
        assert line in message
    assert re.search(r"plain +89.0% +84.0 to 93.0 +10.0 \(2.0 to 18.0\) +not told apart", message)
    assert "caffe = caffe RGB" in message


def test_the_options_that_a_refusal_gives_choose_what_was_tried(tmp_path: Path) -> None:
    best = trial("half = half BGR", 0.9, "best")
    hint = refusal(best, trial("odd", 0.89, "not told apart", preprocessing=SWAPPED), trial("plain", 0.3)).hint
    assert "`preprocess='half'`\n" in hint
    assert "plain" not in hint
    match = re.search(r"FILE.json'`, with (.*) in that file", hint)
    assert match is not None
    assert json.loads(match[1]).keys() == {"channels", "resize", "divide_by", "mean"}  # the rest has its default
    (tmp_path / "own.json").write_text(match[1])
    assert resolve_preprocessing(str(tmp_path / "own.json"), size=SIZE, channels=3) == SWAPPED


def test_an_accuracy_of_chance_is_refused() -> None:
    refused = refusal(trial("half", 0.27, "best"), trial("plain", 0.1), chance_p_value=0.4)
    assert "no better than chance" in refused.message
    assert "always answering 'cat' would be right on 25.0%" in refused.message
    assert "preprocess='half'" not in refused.hint


@pytest.mark.parametrize("outcome", ["worse", "not told apart"])
def test_images_that_have_to_be_inverted_are_a_refusal(outcome: Outcome) -> None:
    best = trial("half inverted", 0.9, "best", inverted=True)
    refused = refusal(best, trial("plain inverted", 0.8, outcome, inverted=True), trial("half", 0.3))
    assert "answers best on inverted images" in refused.message
    assert "PIL.ImageOps.invert" in refused.hint


def test_inverted_images_are_no_choice() -> None:
    best = trial("half inverted", 0.9, "best", inverted=True)
    hint = refusal(best, trial("plain", 0.85, "not told apart", preprocessing=preset("plain", SIZE, 3))).hint
    assert hint.splitlines()[1:] == ["       `preprocess='plain'`"]
