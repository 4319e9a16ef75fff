from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from vgg_export import CalibrationOptions, Quantization, SampleOptions
from vgg_export.planning.options import Options
from vgg_export.planning.plan import FEW_IMAGES, make_plan
from vgg_runtime.errors import LabelsError, RefusedInputError, UsageError


def test_the_usual_preprocessing_is_taken_and_told(small_checkpoint, example) -> None:
    grey = make_plan(small_checkpoint(), Options(input_size=(8, 8)))
    assert (grey.preprocessing.channels, grey.preprocessing.mean) == ("L", None)
    assert "plain is assumed for 1 channel;" in grey.assumptions[-1]
    colour = make_plan("random:vgg11", Options(input_size=(32, 32)))
    assert colour.preprocessing.mean == (0.485, 0.456, 0.406)
    assert "imagenet is assumed for 3 channels;" in colour.assumptions[-1]


def test_size_in_a_file_is_certain_and_a_presets_is_not(example, tmp_path: Path) -> None:
    (tmp_path / "own.json").write_text('{"channels": "L", "resize": [32, 32]}')
    plan = make_plan(example.checkpoint, Options(preprocess=str(tmp_path / "own.json")))
    assert plan.input_spec.size == (32, 32)
    assert make_plan(example.checkpoint, Options(preprocess="half")).input_spec.size == (28, 28)


@pytest.mark.parametrize(("batch", "shape"), [("dynamic", ("batch", 1, 28, 28)), (4, (4, 1, 28, 28))])
def test_the_batch_dimension(example, batch, shape) -> None:
    assert make_plan(example.checkpoint, Options(batch=batch)).input_spec.shape == shape


def test_a_batch_beyond_the_limit_of_bundles_is_refused(small_checkpoint) -> None:
    with pytest.raises(UsageError, match=r"`batch=2097153` must be at most 2097152 for this size of image"):
        make_plan(small_checkpoint(), Options(input_size=(8, 8), batch=2**21 + 1))


def test_formats_choose_the_variants(example) -> None:
    assert [spec.name for spec in make_plan(example.checkpoint, Options(formats=("onnx",))).variant_specs] == [
        "onnx-fp32"
    ]


@pytest.mark.parametrize(("count", "parts"), [(FEW_IMAGES, []), (FEW_IMAGES - 1, ["taken from 15 alone"])])
def test_a_calibration_on_a_few_images_is_told(example, tmp_path: Path, count: int, parts: list[str]) -> None:
    (tmp_path / "judge").mkdir()
    for i in range(count + 1):
        folder = tmp_path if i else tmp_path / "judge"
        Image.new("L", (28, 28), i).save(folder / f"{i}.png")
    options = Options(
        quantize=Quantization(["static"]),
        calibration=CalibrationOptions(tmp_path),
        samples=SampleOptions(tmp_path / "judge"),
    )
    notes = [note for note in make_plan(example.checkpoint, options).assumptions if "8-bit" in note]
    assert len(notes) == len(parts)
    assert all(part in note for part, note in zip(parts, notes, strict=True))


def test_labels_are_held_against_the_head(example, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("cat\ndog")
    with pytest.raises(LabelsError, match="names 2 classes, the network has 10 outputs"):
        make_plan(example.checkpoint, Options(labels=str(tmp_path / "labels.txt")))


def test_sizes_that_contradict_one_another_are_refused(example, tmp_path: Path) -> None:
    (tmp_path / "own.json").write_text('{"channels": "L", "resize": [32, 32]}')
    with pytest.raises(RefusedInputError, match=r"makes images of \(32, 32\)"):
        make_plan(example.checkpoint, Options(preprocess=str(tmp_path / "own.json"), input_size=(28, 28)))


@pytest.fixture
def telling(small_network, tmp_path: Path) -> Path:
    """A checkpoint that states labels, normalization and the size of its images."""
    facts = {"class_names": list("abcdef"), "mean": [0.5], "std": [0.25], "img_size": 8}
    torch.save({"model": small_network(), **facts}, tmp_path / "telling.pth")
    return tmp_path / "telling.pth"


def test_what_the_checkpoint_states_is_taken_and_told(telling: Path) -> None:
    plan = make_plan(telling, Options())
    assert plan.labels == tuple("abcdef")
    assert (plan.preprocessing.mean, plan.preprocessing.std) == ((0.5,), (0.25,))
    assert plan.input_spec.size == (8, 8)
    assert plan.remarks == (
        "input size: 8x8, taken from 'img_size' in the checkpoint",
        "normalization: taken from 'mean' in the checkpoint",
        "labels: taken from 'class_names' in the checkpoint",
    )
    assert set(plan.remarks) < set(plan.source_notes)
    assert plan.assumptions[-1] == (
        "no `preprocess` was given, and the checkpoint doesn't state resize and crop and interpolation: plain is "
        "assumed for 1 channel there"
    )


def test_what_the_checkpoint_states_is_overruled_by_options(telling: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("u\nv\nw\nx\ny\nz")
    plan = make_plan(telling, Options(labels=str(tmp_path / "labels.txt"), preprocess="plain", input_size=(8, 8)))
    assert plan.labels == tuple("uvwxyz")
    assert plan.preprocessing.mean is None
    assert plan.remarks == ()
