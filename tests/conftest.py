"""What most tests share: the trained example, and the bundle that it exports to."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vgg_runtime.benchmark.rounds import Timings
from vgg_runtime.bundle import Bundle
from vgg_runtime.manifest import Manifest

DATA = Path(__file__).parent / "data"


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
def signals_reach_children() -> Iterator[None]:
    """What signals do to a command can be tested where the tests themselves are started to ignore them.

    Shells start background jobs with SIGINT ignored, and nohup does so with SIGHUP. A child process inherits that, but
    not a handler; one that does nothing leaves this process as deaf as it was.
    """
    names = ("SIGINT", "SIGHUP", "SIGTERM")
    ignored = [each for each in signal.Signals if each.name in names and signal.getsignal(each) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, lambda *_: None)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


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
    """A folder of 300 real images that the example was trained on, in class folders."""
    folder = tmp_path_factory.mktemp("photos")
    names = json.loads((example.folder / "class_indices.json").read_text())
    for i, (image, label) in enumerate(zip(*fashion_mnist("train"), strict=True)):
        (folder / names[str(label)]).mkdir(exist_ok=True)
        Image.fromarray(image).save(folder / names[str(label)] / f"{i:05d}.png")
    return folder


@pytest.fixture(scope="session")
def test_photos() -> tuple[np.ndarray, np.ndarray]:
    """500 images that the example was not trained on, uint8 (500, 28, 28), and their classes."""
    return fashion_mnist("test")


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
        patch.setattr("vgg_export.pipeline.time_variants", every_variant_takes_a_millisecond)
        options |= {"quantize": QUANTIZE_OPTIONS, "calibration": calibration, **example.options}
        return export(example.checkpoint, folder / "slim_vgg.bundle", **options)


@pytest.fixture
def untimed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports do not measure latencies, which takes longer than all the rest."""
    monkeypatch.setattr("vgg_export.pipeline.time_variants", every_variant_takes_a_millisecond)


def every_variant_takes_a_millisecond(bundle: Path, manifest: Manifest) -> Timings:
    return Timings({variant.name: [[0.001]] for variant in manifest.variants})


def fashion_mnist(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (images, 28, 28) and classes uint8 (images,): 300 of "train" or 500 of "test"."""
    with np.load(DATA / "fashion_mnist.npz") as arrays:
        return arrays[f"{split}_images"], arrays[f"{split}_classes"]
