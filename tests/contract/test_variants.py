"""What every variant must do, whatever its format and precision: one set of cases for all that are exported."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from vgg_export import export
from vgg_export.variants import VARIANTS, Recipe, open_variant
from vgg_models import load_model
from vgg_runtime import Classifier
from vgg_runtime.bundle import Bundle, open_bundle
from vgg_runtime.checksum import sha256_of
from vgg_runtime.images import find_images
from vgg_runtime.manifest import Variant
from vgg_runtime.parity import snr_db

# The lines of VARIANTS that the shared bundle holds.
EXPORTED = [recipe for recipe in VARIANTS if recipe.precision == "fp32"]

ONE_RUN = "exported twice in one process"
OTHER_FOLDER = "exported by the command, in another folder"


@pytest.fixture(scope="module", params=EXPORTED, ids=lambda recipe: recipe.name)
def recipe(request: pytest.FixtureRequest) -> Recipe:
    return request.param


@pytest.fixture
def variant(recipe: Recipe, example_bundle: Bundle) -> Variant:
    return example_bundle.manifest.variant(recipe.name)


@pytest.fixture(scope="module")
def photos(example, example_bundle: Bundle) -> np.ndarray:
    """Five real images, as the network takes them."""
    with Classifier.open(example_bundle.directory) as classifier:
        return np.stack([classifier.preprocess(file) for file in find_images([example.images])[:5]])


@pytest.fixture(scope="module")
def eager(example, photos: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return load_model(example.checkpoint).module(torch.from_numpy(photos)).numpy()


@pytest.fixture(scope="module")
def repetitions(example, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same export again: in this process, and by the command from another folder with relative paths."""
    here, there = tmp_path_factory.mktemp("here"), tmp_path_factory.mktemp("there") / "some" / "deeper place"
    export(example.checkpoint, here / "again.bundle", **example.options)
    shutil.copytree(example.folder, there)
    options = ["--preprocess", "preprocess.json", "--labels", "class_indices.json", "--samples", "images"]
    command = [Path(sys.executable).with_name("vgg-export"), "slim_vgg.pth", "-o", "other.bundle", *options]
    subprocess.run(command, cwd=there, check=True, capture_output=True)
    return {ONE_RUN: here / "again.bundle", OTHER_FOLDER: there / "other.bundle"}


class TestVariant:
    @pytest.mark.parametrize("size", [1, 2, 5])
    def test_agrees_with_eager_pytorch_on_real_images(
        self, recipe: Recipe, example_bundle: Bundle, photos: np.ndarray, eager: np.ndarray, size: int
    ) -> None:
        run = open_variant(recipe, example_bundle.directory)
        outputs = np.concatenate([run(photos[i : i + size]) for i in range(0, 6 - size, size)])
        assert outputs.dtype == np.float32
        assert snr_db(eager[: len(outputs)], outputs) >= recipe.tolerance.min_snr_db

    def test_its_parity_was_measured_and_meets_its_tolerance(self, recipe: Recipe, variant: Variant, example) -> None:
        assert variant.parity is not None
        assert variant.tolerance == recipe.tolerance
        assert variant.parity.batch_sizes == (1, 2, 5)
        assert variant.parity.samples == len(find_images([example.images])) + 2 + 5
        assert not variant.parity.misses(recipe.tolerance)

    def test_the_manifest_tells_its_files_their_size_and_checksums(
        self, recipe: Recipe, variant: Variant, example_bundle: Bundle
    ) -> None:
        files = [file for file in (example_bundle.directory / recipe.name).rglob("*") if file.is_file()]
        assert {file.relative_to(example_bundle.directory).as_posix(): sha256_of(file) for file in files} == dict(
            variant.sha256
        )
        assert variant.bytes == sum(file.stat().st_size for file in files)
        assert (variant.name, variant.file) == (recipe.name, recipe.file)
        assert (variant.opset is None) == (recipe.format != "onnx")

    def test_a_lone_file_still_knows_its_preprocessing_and_labels(
        self, variant: Variant, example, example_bundle: Bundle, tmp_path: Path
    ) -> None:
        for name in variant.sha256:
            shutil.copy(example_bundle.path(name), tmp_path)
        with Classifier.open(tmp_path / Path(variant.file).name, device="cpu") as lone:
            assert lone.manifest.labels == example_bundle.manifest.labels
            assert lone.manifest.preprocessing == example_bundle.manifest.preprocessing
            assert lone.predict(example.images / "bag" / "00018.png")[0].label == "bag"

    @pytest.mark.parametrize("repetition", [ONE_RUN, OTHER_FOLDER])
    def test_the_same_export_gives_the_same_bytes(
        self, variant: Variant, example_bundle: Bundle, repetitions: dict[str, Path], repetition: str
    ) -> None:
        for name in variant.sha256:
            assert (repetitions[repetition] / name).read_bytes() == example_bundle.path(name).read_bytes(), name

    def test_no_path_of_the_build_machine_is_inside(
        self, recipe: Recipe, repetitions: dict[str, Path], example
    ) -> None:
        for bundle in repetitions.values():
            for file in (bundle / recipe.name).rglob("*"):
                assert not paths_in(file, bundle, example.folder), file


@pytest.mark.parametrize("repetition", [ONE_RUN, OTHER_FOLDER])
def test_the_rest_of_the_bundle_is_reproducible_and_tells_no_paths(
    example, example_bundle: Bundle, repetitions: dict[str, Path], repetition: str
) -> None:
    for name in ("bundle.json", "golden.npz"):
        assert (repetitions[repetition] / name).read_bytes() == example_bundle.path(name).read_bytes(), name
    for file in repetitions[repetition].glob("*.*"):
        assert not paths_in(file, repetitions[repetition], example.folder), file


def test_the_bundle_holds_every_variant_and_is_whole(example_bundle: Bundle) -> None:
    assert [variant.name for variant in example_bundle.manifest.variants] == [recipe.name for recipe in EXPORTED]
    assert open_bundle(example_bundle.directory).changed_files() == []


def paths_in(file: Path, bundle: Path, example: Path) -> list[str]:
    """The build machine's paths that occur in ``file``: of the packages, the checkpoint, the bundle, the user."""
    known = [
        sys.prefix,
        sys.base_prefix,
        str(example.parents[1]),
        str(bundle.parent),
        str(Path.home()),
        "site-packages",
    ]
    content = file.read_bytes()
    return [path for path in known if path.encode() in content]
