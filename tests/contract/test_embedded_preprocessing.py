"""``--embed-preprocessing``: every variant takes pixels, and gives what it gives of planes without."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vgg_bench.cases import WORKER
from vgg_bench.timing.process import Turn
from vgg_bench.timing.rounds import Schedule, turns
from vgg_export.variants.registry import VARIANTS, VariantSpec, open_variant
from vgg_runtime import Classifier, verify_bundle
from vgg_runtime.bundle.directory import Bundle
from vgg_runtime.errors import ImageError
from vgg_runtime.imaging.folders import find_images


@pytest.mark.parametrize("spec", VARIANTS, ids=lambda spec: spec.name)
def test_outputs_are_the_same_to_the_bit(
    spec: VariantSpec, embedded_bundle: Bundle, whole_bundle: Bundle, test_photos: tuple[np.ndarray, np.ndarray]
) -> None:
    pixels = test_photos[0][:20, :, :, np.newaxis]
    planes = np.stack([whole_bundle.manifest.preprocessing.normalize(image) for image in pixels])
    for size in (1, 5):
        expected = open_variant(spec, whole_bundle.directory)(planes[:size])
        np.testing.assert_array_equal(open_variant(spec, embedded_bundle.directory)(pixels[:size]), expected)


def test_a_classifier_gives_the_same_answers(embedded_bundle: Bundle, whole_bundle: Bundle, example) -> None:
    images = find_images([example.images])
    with Classifier.open(whole_bundle.directory, device="cpu") as classifier:
        expected = classifier.predict_batch(images)
    with Classifier.open(embedded_bundle.directory, device="cpu") as classifier:
        assert classifier.predict_batch(images) == expected
        assert classifier.preprocess(images[0]).dtype == np.uint8


def test_a_lone_file_gives_the_same_answers(embedded_bundle: Bundle, whole_bundle: Bundle, example) -> None:
    image = find_images([example.images])[0]
    with Classifier.open(whole_bundle.path("onnx-fp32/model.onnx"), device="cpu") as lone:
        expected = lone.predict(image)
    with Classifier.open(embedded_bundle.path("onnx-fp32/model.onnx"), device="cpu") as lone:
        assert lone.predict(image) == expected


def test_openvino_gives_the_same_up_to_rounding(embedded_bundle: Bundle, whole_bundle: Bundle, example) -> None:
    pytest.importorskip("openvino")
    images = find_images([example.images])
    predictions = []
    for bundle in (embedded_bundle, whole_bundle):
        with Classifier.open(bundle.directory, backend="openvino", device="cpu") as classifier:
            predictions.append([*classifier.predict_batch(images), *map(classifier.predict, images[:2])])
    for ours, theirs in zip(*predictions, strict=True):
        assert [prediction.index for prediction in ours] == [prediction.index for prediction in theirs]
        assert [prediction.probability for prediction in ours] == pytest.approx(
            [prediction.probability for prediction in theirs], abs=1e-5
        )


def test_logits_take_what_preprocess_makes_of_an_image(embedded_bundle: Bundle, example) -> None:
    with Classifier.open(embedded_bundle.directory, device="cpu") as classifier:
        pixels = classifier.preprocess(find_images([example.images])[0])
        assert pixels.shape == (28, 28, 1)
        np.testing.assert_array_equal(classifier.logits(pixels), classifier.logits(pixels[np.newaxis]))


def test_planes_are_refused_where_pixels_are_taken(embedded_bundle: Bundle) -> None:
    with Classifier.open(embedded_bundle.directory, device="cpu") as classifier:
        with pytest.raises(ImageError, match="this model takes uint8 pixels and scales them itself"):
            classifier.predict(np.zeros((1, 28, 28), np.float32))
        with pytest.raises(ImageError, match=r"takes uint8 \['batch', 28, 28, 1\] in NHWC order"):
            classifier.logits(np.zeros((1, 1, 28, 28), np.float32))
        with pytest.raises(ImageError, match=r"shape \[1, 1, 28, 28\]"):
            classifier.logits(np.zeros((1, 1, 28, 28), np.uint8))


def test_it_verifies_and_can_be_measured(embedded_bundle: Bundle) -> None:
    assert len(verify_bundle(embedded_bundle.directory, device="cpu")) == 6
    command = [*WORKER, str(embedded_bundle.directory), "--variant", "onnx-fp32"]
    ((_, turn),) = turns({"ours": command}, Schedule(rounds=1, seconds=0, min_calls=1))
    assert isinstance(turn, Turn)


def test_the_checkpoint_runs_beside_it_on_the_same_pixels(embedded_bundle: Bundle, example, tmp_path: Path) -> None:
    worker = [sys.executable, "-m", "vgg_bench.measurement.worker", str(embedded_bundle.directory)]
    command = [*worker, "--checkpoint", str(example.checkpoint), "--backend", "eager"]
    with np.load(embedded_bundle.path("golden.npz")) as golden:
        assert golden["input"].dtype == np.uint8
        expected = golden["output"].argmax(axis=1).tolist()
        np.save(tmp_path / "pixels.npy", golden["input"])
    request = json.dumps({"classify": str(tmp_path / "pixels.npy")})
    done = subprocess.run(command, input=request, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[1]) == {"classes": expected}


def test_a_lone_file_of_another_input_is_not_measured_beside_it(embedded_bundle: Bundle, whole_bundle: Bundle) -> None:
    worker = [sys.executable, "-m", "vgg_bench.measurement.worker", str(embedded_bundle.directory)]
    command = [*worker, "--file", str(whole_bundle.path("onnx-fp32/model.onnx"))]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 3
    assert "takes float32 [1, 28, 28], the bundle's variants uint8 [28, 28, 1]" in done.stderr


def test_info_says_what_callers_give(embedded_bundle: Bundle) -> None:
    command = [sys.executable, "-c", "from vgg_run.cli import main; main()", "info", str(embedded_bundle.directory)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "as uint8 pixels in NHWC order: the model scales and normalizes" in done.stdout
