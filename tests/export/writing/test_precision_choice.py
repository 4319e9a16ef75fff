"""What int8-static is made of: the least that is done to a network so that it passes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from vgg_export import Quantization, export
from vgg_export.writing import precision_trials
from vgg_runtime.bundle.manifest import Manifest

STATIC = {"input_size": 8, "formats": ["onnx"], "quantize": ["static"], "verify": False}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of twenty grey images of 8 x 8."""
    (tmp_path / "photos").mkdir()
    random = np.random.default_rng(0)
    for i in range(20):
        Image.fromarray(random.integers(0, 256, (8, 8), np.uint8)).save(tmp_path / "photos" / f"{i:02d}.png")
    return tmp_path / "photos"


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that are written on trial."""
    files: list[Path] = []
    write = precision_trials.write_quantized

    def record(source: Path, file: Path, *arguments, **options):
        files.append(file)
        return write(source, file, *arguments, **options)

    monkeypatch.setattr(precision_trials, "write_quantized", record)
    return files


@pytest.fixture
def uneven_checkpoint(tmp_path: Path) -> Path:
    """A network whose second convolution reads eight planes of scales 1 to 10,000 and answers to all of them alike."""
    torch.manual_seed(0)
    network = nn.Sequential(
        *(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Flatten()),
        nn.Linear(512, 6),
    )
    scales = torch.logspace(0, 4, 8)
    with torch.no_grad():
        network[0].weight *= scales[:, None, None, None]
        network[0].bias *= scales
        network[2].weight /= scales[None, :, None, None]
    torch.save(network.eval(), tmp_path / "uneven.pth")
    return tmp_path / "uneven.pth"


def test_what_passes_is_tried_once_and_left_as_it_is(
    small_checkpoint, photos: Path, tmp_path: Path, trials: list[Path], untimed: None
) -> None:
    manifest = export(small_checkpoint(), tmp_path / "a.bundle", calibration=photos, **STATIC).manifest
    assert len(trials) == 1
    assert manifest.variant("onnx-int8-static").in_float == ()
    assert manifest.calibration is not None
    assert (manifest.calibration.evaluation_snr_db or 0) > 14


def test_noisy_layers_stay_in_float_and_the_note_says_why(
    uneven_checkpoint: Path, photos: Path, tmp_path: Path, untimed: None
) -> None:
    manifest = export(uneven_checkpoint, tmp_path / "a.bundle", calibration=photos, **STATIC).manifest
    variant = manifest.variant("onnx-int8-static")
    assert 0 < len(variant.in_float) < (variant.layers or 0)
    assert any(f"{len(variant.in_float)} of 3 layers stay in float" in note for note in variant.notes)
    assert manifest.calibration is not None
    assert (manifest.calibration.evaluation_snr_db or 0) > 14


def test_all_layers_leaves_none_in_float(uneven_checkpoint: Path, photos: Path, tmp_path: Path, untimed: None) -> None:
    options = STATIC | {"calibration": photos, "quantize": Quantization(["static"], all_layers=True)}
    manifest = export(uneven_checkpoint, tmp_path / "a.bundle", **options).manifest
    assert manifest.variant("onnx-int8-static").in_float == ()
    assert manifest.calibration is not None
    assert manifest.calibration.evaluation_snr_db is None


@pytest.fixture
def darker(photos: Path, tmp_path: Path) -> Path:
    """The same images at six tenths of the brightness: ranges that they give are too narrow for ``photos``."""
    (tmp_path / "darker").mkdir()
    for photo in photos.iterdir():
        pixels = np.asarray(Image.open(photo)) * 0.6
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "darker" / photo.name)
    return tmp_path / "darker"


@pytest.fixture
def held_out_miss(darker: Path, photos: Path, tmp_path: Path, untimed: None) -> Callable[[bool], Manifest]:
    """Export what reaches 32 dB on the evaluation images with every layer in 8 bits, and misses on those held out."""
    torch.manual_seed(2)
    features = (nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten())
    network = nn.Sequential(*features, nn.Linear(256, 32), nn.ReLU(), nn.Linear(32, 6)).eval()

    def export_it(all_layers: bool) -> Manifest:
        quantize = Quantization(["static"], min_snr=32, all_layers=all_layers)
        options = STATIC | {"quantize": quantize, "verify": True, "calibration": darker, "samples": photos}
        return export(network, tmp_path / "a.bundle", **options).manifest

    return export_it


def test_a_miss_on_images_held_out_puts_layers_in_float(held_out_miss: Callable[[bool], Manifest]) -> None:
    manifest = held_out_miss(all_layers=False)
    variant = manifest.variant("onnx-int8-static")
    assert variant.parity is not None
    assert variant.parity.decibels >= 32
    assert 0 < len(variant.in_float) < (variant.layers or 0)
    assert any("not enough for the images held out: raised to" in note for note in variant.notes)
    assert manifest.left_out == ()


def test_all_layers_is_left_out_by_a_miss_on_them(held_out_miss: Callable[[bool], Manifest]) -> None:
    (left_out,) = held_out_miss(all_layers=True).left_out
    assert left_out.parity is not None
    assert left_out.reason == (
        "onnx-int8-static misses the requested accuracy on the images held out: "
        f"{left_out.parity.decibels:.6g} dB, at least 32."
    )
    assert left_out.remedies[0].startswith("leave out `all_layers`")
