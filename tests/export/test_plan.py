from __future__ import annotations

from pathlib import Path

import pytest

from vgg_export.plan import Options, make_plan
from vgg_runtime.errors import LabelsError, RefusedInputError


def test_the_usual_preprocessing_is_taken_and_told(small_checkpoint, example) -> None:
    grey = make_plan(small_checkpoint(), Options(input_size=(8, 8)))
    assert (grey.preprocessing.channels, grey.preprocessing.mean) == ("L", None)
    assert "plain is taken for 1 channel(s)" in grey.assumptions[-1]
    colour = make_plan("random:vgg11", Options(input_size=(32, 32)))
    assert colour.preprocessing.mean == (0.485, 0.456, 0.406)
    assert "imagenet is taken for 3 channel(s)" in colour.assumptions[-1]


def test_a_size_in_a_preprocessing_file_is_certain_that_of_a_preset_is_not(example, tmp_path: Path) -> None:
    (tmp_path / "own.json").write_text('{"channels": "L", "resize": [32, 32]}')
    stated = make_plan(example.checkpoint, Options(preprocess=str(tmp_path / "own.json")))
    assert stated.takes.size == (32, 32)
    assert make_plan(example.checkpoint, Options(preprocess="half")).takes.size == (28, 28)


@pytest.mark.parametrize(("batch", "shape"), [("dynamic", ("batch", 1, 28, 28)), (4, (4, 1, 28, 28))])
def test_the_batch_dimension(example, batch, shape) -> None:
    assert make_plan(example.checkpoint, Options(batch=batch)).takes.shape == shape


def test_formats_choose_the_recipes(example) -> None:
    assert [recipe.name for recipe in make_plan(example.checkpoint, Options(formats=("onnx",))).recipes] == [
        "onnx-fp32"
    ]


def test_labels_are_held_against_the_head(example, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("cat\ndog")
    with pytest.raises(LabelsError, match="names 2 classes, the network has 10 outputs"):
        make_plan(example.checkpoint, Options(labels=str(tmp_path / "labels.txt")))


def test_sizes_that_contradict_one_another_are_refused(example, tmp_path: Path) -> None:
    (tmp_path / "own.json").write_text('{"channels": "L", "resize": [32, 32]}')
    with pytest.raises(RefusedInputError, match=r"makes images of \(32, 32\)"):
        make_plan(example.checkpoint, Options(preprocess=str(tmp_path / "own.json"), input_size=(28, 28)))
