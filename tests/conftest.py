"""What most tests share: the trained example, and the bundle that it exports to."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vgg_runtime.benchmark.results import Machine, Method, Results
from vgg_runtime.bundle import Bundle
from vgg_runtime.manifest import Manifest

# Where Debian's package dataset-fashion-mnist puts all of it.
FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")


@dataclass(frozen=True)
class Example:
    """The trained slim VGG of examples/fashion_mnist: 28 x 28 grey images, ten classes."""

    folder: Path

    @property
    def checkpoint(self) -> Path:
        return self.folder / "slim_vgg.pth"

    @property
    def images(self) -> Path:
        return self.folder / "images"

    @property
    def options(self) -> dict[str, Any]:
        """What the demo gives to export()."""
        return {
            "preprocess": self.folder / "preprocess.json",
            "labels": self.folder / "class_indices.json",
            "samples": self.images,
        }


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Ranges are neither taken from the user's cache nor left there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VGG_DEPLOY_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def example() -> Example:
    return Example(Path(__file__).parent.parent / "examples" / "fashion_mnist")


@pytest.fixture(scope="session")
def example_bundle(example: Example, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The example as the demo exports it. Tests read it and do not change it."""
    from vgg_export import export

    return export(example.checkpoint, tmp_path_factory.mktemp("example") / "slim_vgg.bundle", **example.options)


@pytest.fixture(scope="session")
def calibration_photos(example: Example, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of real images that the example was trained on, in class folders; its few test images without them."""
    if not FASHION_MNIST.is_dir():
        return example.images
    folder = tmp_path_factory.mktemp("photos")
    names = json.loads((example.folder / "class_indices.json").read_text())
    images, labels = fashion_mnist("train")
    for i in range(300):
        (folder / names[str(labels[i])]).mkdir(exist_ok=True)
        Image.fromarray(images[i]).save(folder / names[str(labels[i])] / f"{i:05d}.png")
    return folder


@pytest.fixture(scope="session")
def test_photos() -> tuple[np.ndarray, np.ndarray]:
    """2,000 images that the example was not trained on, uint8 (2000, 28, 28), and their classes."""
    if not FASHION_MNIST.is_dir():
        pytest.skip(f"the data set is not there: apt-get install dataset-fashion-mnist puts it into {FASHION_MNIST}")
    images, labels = fashion_mnist("t10k")
    return images[:2000], labels[:2000]


@pytest.fixture(scope="session")
def whole_bundle(example: Example, calibration_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The example in every variant that there is, not timed. Tests read it and do not change it."""
    return _every_variant(example, calibration_photos, tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="session")
def embedded_bundle(example: Example, calibration_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The same with ``--embed-preprocessing``."""
    return _every_variant(example, calibration_photos, tmp_path_factory.mktemp("embedded"), embed_preprocessing=True)


def _every_variant(example: Example, calibration: Path, folder: Path, **options: Any) -> Bundle:
    from vgg_export import export
    from vgg_export.variants import QUANTIZE_OPTIONS

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vgg_export.pipeline.time_variants", nothing_is_timed)
        options |= {"quantize": QUANTIZE_OPTIONS, "calibration": calibration, **example.options}
        return export(example.checkpoint, folder / "slim_vgg.bundle", **options)


@pytest.fixture
def untimed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports do not measure latencies, which takes longer than all the rest."""
    monkeypatch.setattr("vgg_export.pipeline.time_variants", nothing_is_timed)


def nothing_is_timed(bundle: Path, manifest: Manifest, on_step: object) -> Results:
    return Results("", "", "", ("onnx-fp32", "onnxruntime"), (), Machine("", "", 1, 1.0), Method("", 0, 0.0, 0, 0))


def fashion_mnist(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (images, 28, 28) and classes uint8 (images,) of "train" or "t10k"."""
    images = gzip.decompress((FASHION_MNIST / f"{split}-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((FASHION_MNIST / f"{split}-labels-idx1-ubyte.gz").read_bytes())
    return np.frombuffer(images, np.uint8, offset=16).reshape(-1, 28, 28), np.frombuffer(labels, np.uint8, offset=8)
