from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vgg_export.planning.labels import IMAGENET, labels_from_checkpoint, read_labels
from vgg_models.metadata import Statement
from vgg_runtime.errors import LabelsError

NAMES = ("daisy", "rose", "tulip")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("index_to_name.json", '{"0": "daisy", "2": "tulip", "1": "rose"}'),
        ("name_to_index.json", '{"daisy": 0, "tulip": 2, "rose": 1}'),
        ("name_to_index_as_text.json", '{"daisy": "0", "tulip": "2", "rose": "1"}'),
        ("list.json", '["daisy", "rose", "tulip"]'),
        ("lines.txt", "daisy\nrose\ntulip\n"),
        ("lines_of_windows.txt", "\ufeffdaisy\r\nrose\r\ntulip\r\n\r\n"),
        ("json_by_another_name.txt", '["daisy", "rose", "tulip"]'),
    ],
)
def test_every_form_that_lessons_save_is_read(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_bytes(content.encode())
    assert read_labels(str(tmp_path / name), 3) == NAMES


def test_sequence_of_names_is_taken_as_it_is() -> None:
    assert read_labels(NAMES, 3) == NAMES
    assert read_labels(np.array(NAMES), 3) == NAMES


@pytest.mark.parametrize(
    "mapping",
    [
        {"tulip": 2, "daisy": 0, "rose": 1},
        {"2": "tulip", "0": "daisy", "1": "rose"},
        {2: "tulip", 0: "daisy", 1: "rose"},
    ],
)
def test_dict_is_read_in_either_direction_whatever_its_order(mapping: dict[Any, Any]) -> None:
    assert read_labels(mapping, 3) == NAMES


def test_set_is_refused() -> None:
    with pytest.raises(LabelsError, match="a set has no order"):
        read_labels(set(NAMES), 3)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (NAMES[:2], "the sequence names 2 classes, the network has 3 outputs"),
        (("daisy", 7, "tulip"), "labels in the sequence can't be used: it is neither a list of names"),
        (("daisy", "", "tulip"), "class 1 has no legible name"),
    ],
)
def test_sequence_of_names_that_does_not_fit_is_refused(names: Any, message: str) -> None:
    with pytest.raises(LabelsError, match=message):
        read_labels(names, 3)


def test_lines_end_where_an_editor_ends_them(tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("a\x0bb\nc\u2028d\ne\x1cf\n")
    assert read_labels(str(tmp_path / "lines.txt"), 3) == ("a\x0bb", "c\u2028d", "e\x1cf")


def test_digits_as_names_are_names(tmp_path: Path) -> None:
    (tmp_path / "mnist.json").write_text('{"0": "7", "1": "3"}')
    assert read_labels(str(tmp_path / "mnist.json"), 2) == ("7", "3")


def test_imagenet_by_name() -> None:
    labels = read_labels(IMAGENET, 1000)
    assert (labels[0], labels[281], labels[999]) == ("tench", "tabby", "toilet tissue")


def test_labels_of_the_checkpoint_are_those_that_fit_the_head() -> None:
    samples = Statement(("x",) * 1000, "'labels' in the checkpoint")
    names = Statement(NAMES, "'classes' in the checkpoint")
    assert labels_from_checkpoint([samples, names, names], 3) == (
        NAMES,
        (
            "labels: 'labels' in the checkpoint has 1000 names, the network has 3 outputs; not taken",
            "labels: taken from 'classes' in the checkpoint",
        ),
    )
    assert labels_from_checkpoint([], 3) == (None, ())


def test_labels_of_the_checkpoint_that_differ_are_left_alone() -> None:
    both = [Statement(NAMES, "'classes'"), Statement(NAMES[::-1], "'class_to_idx'")]
    labels, remarks = labels_from_checkpoint(both, 3)
    assert labels is None
    assert remarks == ("labels: 'classes' and 'class_to_idx' differ; none of them is taken",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"0": "daisy", "1": "rose"}', "names 2 classes, the network has 3 outputs"),
        ('{"0": "daisy", "1": "rose", "3": "tulip"}', "not each of 0 to 2 once"),
        ('{"daisy": 0, "rose": 0, "tulip": 1}', "not each of 0 to 2 once"),
        ('{"0": "daisy", "0": "rose", "1": "rose", "2": "tulip"}', "has the key '0' more than once"),
        (f'{{"{"k" * 1000}": 0, "{"k" * 1000}": 1}}', r"has the key 'k{97}\.\.\. \(1000 characters\)' more than once"),
        ('["daisy", "rose", " "]', "class 2 has no legible name"),
        ('["daisy", "\\ud800", "tulip"]', "class 1 has no legible name"),
        ('["daisy", "rose", 7]', "neither a list of names"),
        ('{"daisy": true, "rose": 1, "tulip": 2}', "neither a list of names"),
        ('{"' + "9" * 5000 + '": "daisy"}', "neither a list of names"),
        ("[" + "9" * 5000 + "]", "cannot be read as JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
        ('{"0": "daisy"', "cannot be read as JSON"),
        ("{}", "neither a list of names"),
        ("", "class 0 has no legible name"),
        ("daisy", "names 1 class, the network has 3 outputs"),
        ("daisy\n\ntulip", "class 1 has no legible name"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "labels").write_text(content)
    with pytest.raises(LabelsError, match=message):
        read_labels(str(tmp_path / "labels"), 3)


def test_a_file_that_is_missing_a_folder_or_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "image.png").write_bytes(b"\x89PNG\xff")
    for source in (tmp_path / "none.json", tmp_path, tmp_path / "image.png"):
        with pytest.raises(LabelsError) as refusal:
            read_labels(str(source), 3)
        assert json.dumps(NAMES[0]) in refusal.value.hint  # it shows what is accepted
