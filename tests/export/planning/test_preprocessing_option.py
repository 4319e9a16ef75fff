from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from vgg_export.planning.preprocess_spec import resolve_preprocessing, stated_size
from vgg_runtime.errors import PreprocessingError
from vgg_runtime.imaging.preprocessing import Preprocessing
from vgg_runtime.imaging.presets import PRESETS


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_makes_the_size_of_the_network(name: str) -> None:
    channels = 1 if name == "mnist" else 3
    preprocessing = resolve_preprocessing(name, size=(40, 56), channels=channels)
    assert (preprocessing.output_size, preprocessing.channel_count) == ((40, 56), channels)


@pytest.mark.parametrize(
    ("option", "size"), [(None, None), ("imagenet", (224, 224)), ("cifar10", (32, 32)), ("plain", None), ("find", None)]
)
def test_the_size_that_a_preset_stands_for(option: str | None, size: tuple[int, int] | None) -> None:
    assert stated_size(option) == size


def test_a_file(tmp_path: Path) -> None:
    file = tmp_path / "own.json"
    file.write_text('{"channels": "BGR", "resize": 256, "crop": [224, 192], "divide_by": 1, "mean": [104, 117, 123]}')
    expected = Preprocessing("BGR", resize=256, crop=(224, 192), divide_by=1.0, mean=(104.0, 117.0, 123.0))
    assert resolve_preprocessing(str(file), size=(224, 192), channels=3) == expected
    assert stated_size(str(file)) == (224, 192)


def test_an_object_is_taken_as_the_manifest_gives_it_back() -> None:
    listed: Any = {"crop": [224, 192], "mean": [104.0, 117.0, 123.0]}
    expected = Preprocessing(crop=(224, 192), mean=(104.0, 117.0, 123.0))
    assert resolve_preprocessing(Preprocessing(**listed), size=(224, 192), channels=3) == expected
    assert stated_size(Preprocessing(**listed)) == (224, 192)


@pytest.mark.parametrize(
    ("preprocessing", "message"),
    [
        (Preprocessing("L"), "the Preprocessing makes 1 channel"),
        (Preprocessing(resize=(8, 9)), r"the Preprocessing makes images of \(8, 9\)"),
        (Preprocessing(exif_orientation=cast("Any", "yes")), "the Preprocessing is not valid: exif_orientation is"),
    ],
)
def test_an_object_that_does_not_fit_is_refused(preprocessing: Preprocessing, message: str) -> None:
    with pytest.raises(PreprocessingError, match=message):
        resolve_preprocessing(preprocessing, size=(8, 8), channels=3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"channels": "L"}', "makes 1 channel"),
        ('{"resize": [8, 9]}', r"makes images of \(8, 9\)"),
        ('{"resize": "big"}', "resize is 'big'"),
        ('{"means": [0.5]}', "unknown fields: means"),
        ('{"std": [1, 0, 1]}', "finite and > 0"),
        ('{"mean": [0.5]}', "mean has 1 value,"),
        ('{"permutation": [1, 0]}', r"permutes 2 pixels; the network takes images of \(8, 8\)"),
        ('{"permutation": "missing.npy"}', "missing.npy cannot be read"),
        ("[]", "not a JSON object"),
        ("{", "not a description of preprocessing"),
        ("[" * 100_000, "cannot be read"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "own.json").write_text(content)
    with pytest.raises(PreprocessingError, match=message):
        resolve_preprocessing(str(tmp_path / "own.json"), size=(8, 8), channels=3)


@pytest.mark.parametrize(("preset", "channels"), [("imagenet", 1), ("cifar10", 1), ("mnist", 3), ("plain", 4)])
def test_a_preset_of_other_channels_is_refused(preset: str, channels: int) -> None:
    with pytest.raises(PreprocessingError, match="channel"):
        resolve_preprocessing(preset, size=(8, 8), channels=channels)


def test_unknown_preset_is_refused_with_the_presets(tmp_path: Path) -> None:
    with pytest.raises(PreprocessingError) as refusal:
        stated_size(str(tmp_path / "imagnet"))
    assert all(name in refusal.value.hint for name in PRESETS)
    with pytest.raises(PreprocessingError, match="cannot be read"):
        stated_size(str(tmp_path))
