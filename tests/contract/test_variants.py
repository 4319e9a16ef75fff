"""What every variant must do, whatever its format and precision: one set of cases for all that are exported."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vgg_bench.results import Machine, Method, Results
from vgg_export import export
from vgg_export.variants.registry import QUANTIZE_OPTIONS, VARIANTS, VariantSpec, open_variant
from vgg_models import load_model
from vgg_runtime import Classifier, verify_bundle
from vgg_runtime.bundle.checksums import sha256_of
from vgg_runtime.bundle.directory import MANIFEST, Bundle, open_bundle
from vgg_runtime.bundle.manifest import Manifest, Variant
from vgg_runtime.errors import ChecksumError
from vgg_runtime.imaging.folders import find_images
from vgg_runtime.metrics import snr_db

# Points of accuracy that a precision may lose on real test images; int8-static and int8-dynamic are promised 0.5.
MOST_LOST = {
    "fp32": 0.0,
    "fp16": 0.1,
    "int8-weights": 0.5,
    "int8-dynamic": 0.5,
    "int8-static": 0.5,
    "int4-weights": 1.0,
}

ONE_RUN = "exported twice in one process"
OTHER_FOLDER = "exported by the command, in another folder"

# The command without its measurement of latencies, which takes longer than all the rest.
UNTIMED = """
from vgg_export import cli, pipeline
from vgg_bench.results import Machine, Method, Results
none = Results("", "", "", ("", ""), (), Machine("", "", 1, 1.0), Method("", 0, 0.0, 0, 0))
pipeline.time_variants = lambda bundle, manifest, on_step: none
cli.main()
"""


@pytest.fixture(scope="module", params=VARIANTS, ids=lambda spec: spec.name)
def spec(request: pytest.FixtureRequest) -> VariantSpec:
    return request.param


@pytest.fixture
def variant(spec: VariantSpec, whole_bundle: Bundle) -> Variant:
    return whole_bundle.manifest.variant(spec.name)


@pytest.fixture(scope="module")
def photos(example, whole_bundle: Bundle) -> np.ndarray:
    """Five real images, as the network takes them."""
    with Classifier.open(whole_bundle.directory) as classifier:
        return np.stack([classifier.preprocess(file) for file in find_images([example.images])[:5]])


@pytest.fixture(scope="module")
def eager(example, photos: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return load_model(example.checkpoint).module(torch.from_numpy(photos)).numpy()


@pytest.fixture(scope="module")
def test_batch(test_photos, whole_bundle: Bundle) -> np.ndarray:
    """The test images as the network takes them."""
    with Classifier.open(whole_bundle.directory) as classifier:
        return np.stack([classifier.preprocess(image) for image in test_photos[0]])


@pytest.fixture(scope="module")
def right_before(example, test_photos, test_batch: np.ndarray) -> np.ndarray:
    """Which test images eager PyTorch gets right."""
    with torch.inference_mode():
        outputs = load_model(example.checkpoint).module(torch.from_numpy(test_batch)).numpy()
    return outputs.argmax(axis=1) == test_photos[1]


@pytest.fixture(scope="module")
def repetitions(example, whole_bundle: Bundle, calibration_photos: Path, made_once) -> dict[str, Path]:
    """The same export again: in this process, and by the command from another folder with relative paths.

    The first takes the ranges from the cache, where ``whole_bundle`` left them; the second has an empty cache.
    """

    def in_this_process(bundle: Path) -> None:
        options = {"quantize": QUANTIZE_OPTIONS, "calibration": calibration_photos, **example.options}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("vgg_export.pipeline.time_variants", nothing_is_timed_on_another_machine)
            export(example.checkpoint, bundle, **options)

    def by_the_command(bundle: Path) -> None:
        there = shutil.copytree(example.folder, bundle.parent, dirs_exist_ok=True)
        shutil.copytree(calibration_photos, there / "photos", dirs_exist_ok=True)
        quantize = [f"--quantize={word}" for word in QUANTIZE_OPTIONS]
        command = ["slim_vgg.pth", "-o", bundle.name, *quantize, "--calibration", "photos", "--samples", "images"]
        command += ["--preprocess", "preprocess.json", "--labels", "class_indices.json"]
        environment = {**os.environ, "VGG_DEPLOY_CACHE": str(there / "cache")}
        subprocess.run([sys.executable, "-P", "-c", UNTIMED, *command], cwd=there, check=True, env=environment)

    return {
        ONE_RUN: made_once("here/again.bundle", in_this_process),
        OTHER_FOLDER: made_once("there/some/deeper place/other.bundle", by_the_command),
    }


class TestVariant:
    @pytest.mark.parametrize("size", [1, 2, 5])
    def test_agrees_with_eager_pytorch_on_real_images(
        self, spec: VariantSpec, whole_bundle: Bundle, photos: np.ndarray, eager: np.ndarray, size: int
    ) -> None:
        run = open_variant(spec, whole_bundle.directory)
        outputs = np.concatenate([run(photos[i : i + size]) for i in range(0, 6 - size, size)])
        assert outputs.dtype == np.float32
        assert snr_db(eager[: len(outputs)], outputs) >= spec.tolerance.min_snr_db

    def test_its_parity_was_measured_and_meets_its_tolerance(
        self, spec: VariantSpec, variant: Variant, example
    ) -> None:
        assert variant.parity is not None
        assert variant.tolerance == spec.tolerance
        assert variant.parity.batch_sizes == (1, 2, 5)
        assert variant.parity.samples == len(find_images([example.images])) + 2 + 5
        assert not variant.parity.misses(spec.tolerance)

    def test_it_loses_little_accuracy_on_real_test_images(
        self, spec: VariantSpec, whole_bundle: Bundle, test_batch: np.ndarray, right_before: np.ndarray, test_photos
    ) -> None:
        run = open_variant(spec, whole_bundle.directory)
        outputs = np.concatenate([run(test_batch[i : i + 100]) for i in range(0, len(test_batch), 100)])
        lost = right_before.mean() - (outputs.argmax(axis=1) == test_photos[1]).mean()
        assert lost * 100 <= MOST_LOST[spec.precision] + 1e-9

    def test_its_accuracy_on_labelled_samples_is_in_the_manifest(self, variant: Variant, example) -> None:
        assert variant.accuracy is not None
        assert variant.accuracy.images == len(find_images([example.images]))
        assert min(variant.accuracy.eager, variant.accuracy.variant) >= 0.9
        assert variant.accuracy.low <= variant.accuracy.variant - variant.accuracy.eager <= variant.accuracy.high

    def test_what_was_quantized_and_for_what_is_told(self, spec: VariantSpec, variant: Variant) -> None:
        assert variant.target == (None if spec.quantize is None else "any")
        assert bool(variant.notes) == (spec.quantize is not None)

    def test_a_quantized_one_is_smaller_than_fp32(self, variant: Variant, whole_bundle: Bundle) -> None:
        fp32 = whole_bundle.manifest.variant(f"{variant.format}-fp32")
        assert variant.bytes < fp32.bytes or variant is fp32

    def test_the_manifest_tells_its_files_their_size_and_checksums(
        self, spec: VariantSpec, variant: Variant, whole_bundle: Bundle
    ) -> None:
        files = [file for file in (whole_bundle.directory / spec.name).rglob("*") if file.is_file()]
        assert {file.relative_to(whole_bundle.directory).as_posix(): sha256_of(file) for file in files} == dict(
            variant.sha256
        )
        assert variant.bytes == sum(file.stat().st_size for file in files)
        assert (variant.name, variant.file) == (spec.name, spec.file)
        assert (variant.opset is None) == (spec.format != "onnx")

    def test_a_lone_file_still_knows_its_preprocessing_and_labels(
        self, variant: Variant, example, whole_bundle: Bundle, tmp_path: Path
    ) -> None:
        for name in variant.sha256:
            shutil.copy(whole_bundle.path(name), tmp_path)
        with Classifier.open(tmp_path / Path(variant.file).name, device="cpu") as lone:
            assert lone.manifest.labels == whole_bundle.manifest.labels
            assert lone.manifest.preprocessing == whole_bundle.manifest.preprocessing
            assert lone.predict(example.images / "bag" / "00018.png")[0].label == "bag"

    def test_lone_variant_tells_that_the_manifest_was_edited(
        self, variant: Variant, whole_bundle: Bundle, tmp_path: Path
    ) -> None:
        for name in variant.sha256:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            shutil.copy(whole_bundle.path(name), tmp_path / name)
        manifest = replace(whole_bundle.manifest, variants=(replace(variant, parity=None),), golden=None, checksum=None)
        (tmp_path / MANIFEST).write_text(manifest.dump())
        verify_bundle(tmp_path, device="cpu")
        assert manifest.labels is not None
        (tmp_path / MANIFEST).write_text(replace(manifest, labels=manifest.labels[::-1]).dump())
        with pytest.raises(ChecksumError, match=f"labels of it and of {variant.file} differ"):
            verify_bundle(tmp_path, device="cpu")

    @pytest.mark.parametrize("repetition", [ONE_RUN, OTHER_FOLDER])
    def test_the_same_export_gives_the_same_bytes(
        self, variant: Variant, whole_bundle: Bundle, repetitions: dict[str, Path], repetition: str
    ) -> None:
        for name in variant.sha256:
            assert (repetitions[repetition] / name).read_bytes() == whole_bundle.path(name).read_bytes(), name

    def test_no_path_of_the_build_machine_is_inside(
        self, spec: VariantSpec, repetitions: dict[str, Path], example
    ) -> None:
        for bundle in repetitions.values():
            for file in (bundle / spec.name).rglob("*"):
                assert not paths_in(file, bundle, example.folder), file


@pytest.mark.parametrize("repetition", [ONE_RUN, OTHER_FOLDER])
def test_bundle_is_reproducible_and_tells_no_paths(
    example, whole_bundle: Bundle, repetitions: dict[str, Path], repetition: str
) -> None:
    for name in ("bundle.json", "golden.npz"):
        assert (repetitions[repetition] / name).read_bytes() == whole_bundle.path(name).read_bytes(), name
    for file in repetitions[repetition].glob("*.*"):
        assert not paths_in(file, repetitions[repetition], example.folder), file


def test_the_bundle_holds_every_variant_and_is_whole(whole_bundle: Bundle) -> None:
    assert [variant.name for variant in whole_bundle.manifest.variants] == [spec.name for spec in VARIANTS]
    assert open_bundle(whole_bundle.directory).changed_files() == []


def test_calibration_shares_no_image_with_the_samples(whole_bundle: Bundle, calibration_photos: Path, example) -> None:
    calibration = whole_bundle.manifest.calibration
    assert calibration is not None
    assert {"input", "output"} <= calibration.ranges.keys()
    assert len(calibration.images) == 100
    contents = {(calibration_photos / name).read_bytes() for name in calibration.images}
    assert not contents & {file.read_bytes() for file in find_images([example.images])}


def test_quantized_layers_are_named_by_their_modules(whole_bundle: Bundle) -> None:
    dynamic = whole_bundle.manifest.variant("onnx-int8-dynamic")
    assert dynamic.notes[0] == "2 of 8 layers with weights quantized"
    assert (dynamic.layers, len(dynamic.in_float), dynamic.in_float[:2]) == (8, 6, ("features.0", "features.3"))
    for name in ("onnx-int8-static", "onnx-int4-weights", "onnx-int8-weights"):
        assert whole_bundle.manifest.variant(name).notes[0] == "8 of 8 layers with weights quantized"


def test_only_what_tells_of_the_machine_differs(whole_bundle: Bundle, repetitions: dict[str, Path]) -> None:
    differing = {
        file.relative_to(whole_bundle.directory).as_posix()
        for file in whole_bundle.directory.rglob("*")
        if file.is_file()
        and file.read_bytes() != (repetitions[ONE_RUN] / file.relative_to(whole_bundle.directory)).read_bytes()
    }
    assert differing == {"measured.json"}  # and report.md, where something was timed


def nothing_is_timed_on_another_machine(bundle: Path, manifest: Manifest, on_step: object) -> Results:
    machine = Machine("another processor", "", 1, 1.0)
    return Results("", "", "", ("onnx-fp32", "onnxruntime"), (), machine, Method("", 0, 0.0, 0, 0))


def paths_in(file: Path, bundle: Path, example: Path) -> list[str]:
    """The build machine's paths that occur in ``file``: of the packages, the checkpoint, the bundle, the user."""
    paths = [sys.prefix, sys.base_prefix, str(example.parents[1]), str(bundle.parent), "site-packages"]
    if len(Path.home().parts) > 1:  # else it is the root, or what an empty $HOME makes of it
        paths.append(str(Path.home()))
    content = file.read_bytes()
    return [path for path in paths if path.encode() in content]
