from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vgg_bench.analysis.accuracy import accuracy_with_interval, quality_from_manifest, read_labelled
from vgg_bench.results import Quality
from vgg_runtime.bundle.directory import open_bundle
from vgg_runtime.bundle.manifest import Architecture, ParityFigures
from vgg_runtime.errors import ImageError, UsageError
from vgg_runtime.imaging.preprocessing import Preprocessing


@pytest.fixture
def class_folders(tmp_path: Path) -> Path:
    """Three images of each colour, in a folder named for it."""
    for colour in ("red", "lime", "blue"):
        (tmp_path / "samples" / colour).mkdir(parents=True)
        for i in range(3):
            Image.new("RGB", (20, 10 + i), colour).save(tmp_path / "samples" / colour / f"{i}.png")
    return tmp_path / "samples"


def test_images_are_preprocessed_and_known_by_their_folder(class_folders: Path, make_manifest, tmp_path) -> None:
    result = read_labelled(class_folders, make_manifest())
    result.save(tmp_path / "images.npy", make_manifest())
    images = np.load(tmp_path / "images.npy")
    assert images.shape == (9, 3, 6, 8)
    assert images.dtype == np.float32
    np.testing.assert_array_equal(images.mean(axis=(2, 3)).argmax(axis=1), result.classes)
    assert sorted(result.classes) == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_all_images_count_or_as_many_as_asked_for(class_folders: Path, make_manifest) -> None:
    costly = make_manifest(architecture=Architecture("net", "", "user code", macs=10**15))
    assert len(read_labelled(class_folders, costly).files) == 9
    assert sorted(read_labelled(class_folders, costly, size=6).classes) == [0, 0, 1, 1, 2, 2]
    with pytest.raises(UsageError, match=r"has 9 images; `samples\.size` asks for 10"):
        read_labelled(class_folders, costly, size=10)


def test_folders_of_other_names_are_refused(photos: Path, class_folders: Path, make_manifest) -> None:
    with pytest.raises(UsageError, match=r"not named after the bundle's labels \(red, lime, blue\)"):
        read_labelled(photos, make_manifest())
    with pytest.raises(UsageError, match=r"\(none\)"):
        read_labelled(class_folders, make_manifest(labels=None))


def test_an_image_that_does_not_fit_is_refused(class_folders: Path, make_manifest) -> None:
    with pytest.raises(ImageError, match="after preprocessing"):
        read_labelled(class_folders, make_manifest(preprocessing=Preprocessing()))


@pytest.mark.parametrize(
    ("right", "images", "low", "high"),
    [(8, 10, 0.4902, 0.9433), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (500, 1000, 0.4691, 0.5309)],
)
def test_wilsons_interval(right: int, images: int, low: float, high: float) -> None:
    """Expected values from statsmodels' proportion_confint(method="wilson")."""
    result = accuracy_with_interval([1] * right + [0] * (images - right), [1] * images)
    assert result.value == right / images
    assert (result.low, result.high) == pytest.approx((low, high), abs=1e-4)


def test_agreement_is_what_the_manifest_says(bundle: Path) -> None:
    manifest = open_bundle(bundle).manifest
    figures = ParityFigures(64, (1,), 0.1, 0.1, 30.0, 0.99, 0.97, 0.98, 0.96, "worst")
    verified = replace(manifest, variants=tuple(replace(each, parity=figures) for each in manifest.variants))
    assert quality_from_manifest("onnx-fp32", verified) == Quality(0.97, 30.0)
    assert quality_from_manifest("onnx-fp32", manifest) == quality_from_manifest("a lone file", manifest) == Quality()
    assert quality_from_manifest("eager", manifest) == Quality(1.0)
