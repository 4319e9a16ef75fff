"""``--compress`` from the checkpoint to the bundle, on the trained example."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vgg_export import CompressionOptions, export
from vgg_export.cli import main
from vgg_runtime import Bundle, Classifier, open_bundle, verify_bundle

pytestmark = pytest.mark.usefixtures("untimed")


@pytest.fixture(scope="module")
def samples(example: Any, test_photos: tuple[np.ndarray, np.ndarray], made_once: Any) -> Path:
    """The first 200 test images in folders named after their classes."""
    names = json.loads((example.folder / "class_indices.json").read_text())
    images, classes = test_photos

    def write(folder: Path) -> None:
        unfinished = folder.with_name("samples.partial")
        for number, (image, label) in enumerate(zip(images[:200], classes[:200], strict=True)):
            (unfinished / names[str(label)]).mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(unfinished / names[str(label)] / f"{number}.png")
        unfinished.rename(folder)

    return made_once("samples", write)


@pytest.fixture(scope="module")
def low_rank_bundle(
    example: Any, calibration_photos: Path, samples: Path, made_once: Any, untimed_export: Any
) -> Bundle:
    """The example with a third of its operations, in every variant."""
    options = {"compress": 3.0, "quantize": ["static", "int4-weights", "dynamic"], "calibration": calibration_photos}
    options |= {"samples": samples}
    return open_bundle(
        made_once("lowrank/slim_vgg.bundle", partial(untimed_export, example, example.options | options))
    )


def test_every_variant_comes_of_both_networks(low_rank_bundle: Bundle) -> None:
    precisions = {
        "onnx": ("fp32", "int8-dynamic", "int8-static", "int4-weights"),
        "torchscript": ("fp32", "int8-dynamic"),
    }
    names = [
        f"{form}-{kind}{precision}"
        for kind in ("", "lowrank-")
        for form in precisions
        for precision in precisions[form]
    ]
    assert [variant.name for variant in low_rank_bundle.manifest.variants] == names
    assert not low_rank_bundle.manifest.left_out


def test_low_rank_variants_are_smaller(low_rank_bundle: Bundle) -> None:
    sizes = {variant.name: variant.bytes for variant in low_rank_bundle.manifest.variants}
    for name, size in sizes.items():
        if "lowrank" in name:
            assert size < 0.6 * sizes[name.replace("lowrank-", "")], name


def test_low_rank_variants_keep_the_answers(
    low_rank_bundle: Bundle, test_photos: tuple[np.ndarray, np.ndarray]
) -> None:
    images = [Image.fromarray(image) for image in test_photos[0][:200]]
    answers = {}
    for name in ("onnx-fp32", "onnx-lowrank-fp32", "onnx-lowrank-int8-static", "onnx-lowrank-int4-weights"):
        with Classifier(low_rank_bundle.directory, variant=name, device="cpu") as classifier:
            answers[name] = [row[0].index for row in classifier.predict_batch(images, top_k=1)]
    for name, indices in answers.items():
        assert np.mean(np.equal(indices, answers["onnx-fp32"])) > 0.94, name


def test_bundle_with_low_rank_variants_verifies(low_rank_bundle: Bundle) -> None:
    figures = verify_bundle(low_rank_bundle.directory)
    assert "onnx-lowrank-int8-static" in figures


def test_manifest_and_report_tell_what_it_was_compressed_for(low_rank_bundle: Bundle) -> None:
    compression = low_rank_bundle.manifest.compression
    assert compression is not None
    assert len(compression.images) == 225
    assert compression.calibration is not None
    assert compression.calibration.ranges.keys() != low_rank_bundle.manifest.calibration.ranges.keys()
    report = (low_rank_bundle.directory / "report.md").read_text()
    assert "factorized for images like the 225 images" in report
    assert f"| {compression.chosen.agreement:.1%} | chosen |" in report


def test_compression_that_costs_answers_is_left_out(
    example: Any,
    calibration_photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = [str(example.checkpoint), "-o", str(tmp_path / "b"), "--format", "onnx", "--compress", "9x"]
    arguments += ["--calibration", str(calibration_photos), "--preprocess", str(example.folder / "preprocess.json")]
    monkeypatch.setattr("sys.argv", ["vgg-export", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 4
    manifest = open_bundle(tmp_path / "b").manifest
    assert [variant.name for variant in manifest.variants] == ["onnx-fp32"]
    assert [variant.name for variant in manifest.left_out] == ["onnx-lowrank-fp32"]
    error = capsys.readouterr().err
    assert "onnx-lowrank-fp32" in error
    assert "1. --compress " in error
    assert "which compresses less" in error


def test_lost_accuracy_on_labelled_samples_is_left_out(
    example: Any, calibration_photos: Path, samples: Path, tmp_path: Path
) -> None:
    options = {"formats": ["onnx"], "calibration": calibration_photos, "preprocess": example.options["preprocess"]}
    options |= {"labels": example.options["labels"], "samples": samples}
    for drop, names in ((0.0, ["onnx-fp32"]), (100.0, ["onnx-fp32", "onnx-lowrank-fp32"])):
        compress = CompressionOptions(9.0, max_accuracy_drop=drop)
        bundle = export(example.checkpoint, tmp_path / f"b{drop}", compress=compress, **options)
        assert [variant.name for variant in bundle.manifest.variants] == names
        if not drop:
            assert "points are lost, and 0 allowed" in bundle.manifest.left_out[0].reason
