"""The choice of a low-rank network on the trained example."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from vgg_calibration.statistics.images import CalibrationImages, read_calibration_images
from vgg_export.planning.preprocess_spec import resolve_preprocessing
from vgg_export.progress import ignore_steps
from vgg_export.writing.compression import SPEEDUPS, CompressedNetwork, compress
from vgg_models import layer_table, load_model
from vgg_runtime.errors import CalibrationError


@pytest.fixture(scope="module")
def network(example: Any) -> nn.Module:
    return load_model(example.checkpoint).module


@pytest.fixture(scope="module")
def images(example: Any, calibration_photos: Path) -> CalibrationImages:
    preprocessing = resolve_preprocessing(str(example.folder / "preprocess.json"), size=(28, 28), channels=1)
    files = sorted(calibration_photos.rglob("*.png"), key=lambda file: file.name)
    return read_calibration_images(files, calibration_photos, preprocessing, (28, 28))


def compressed(network: nn.Module, images: CalibrationImages, **options: Any) -> CompressedNetwork:
    defaults = {"speedup": None, "min_agreement": 0.97, "seed": 0, "on_step": ignore_steps}
    return compress(network, images, **defaults | options)


def test_auto_takes_the_smallest_that_keeps_its_answers(network: nn.Module, images: CalibrationImages) -> None:
    made = compressed(network, images)
    choice, curve = made.record.chosen, made.record.curve
    assert [point.macs for point in curve] == sorted(point.macs for point in curve)
    assert 2 < len(curve) <= math.ceil(math.log2(len(SPEEDUPS) + 1))
    smaller, larger = curve[: curve.index(choice)], curve[curve.index(choice) + 1 :]
    assert choice.agreement >= 0.97
    assert all(point.agreement < 0.97 and "97.0% are asked for" in point.verdict for point in smaller)
    assert [choice.verdict, *(point.verdict for point in larger)] == ["chosen", *["passes"] * len(larger)]
    costs = layer_table(made.module, (1, 28, 28))
    assert (costs.macs, costs.parameters) == (choice.macs, choice.parameters)
    assert choice.macs < layer_table(network, (1, 28, 28)).macs / 1.5


def test_what_the_gate_refuses_is_not_chosen(network: nn.Module, images: CalibrationImages) -> None:
    limit = layer_table(network, (1, 28, 28)).macs / 2.2

    def judge(candidate: nn.Module) -> str | None:
        return "too small" if layer_table(candidate, (1, 28, 28)).macs < limit else None

    record = compressed(network, images, min_agreement=0.5, judge=judge).record
    assert record.chosen.macs >= limit
    assert record.curve[record.curve.index(record.chosen) - 1].verdict == "too small"


def test_largest_is_taken_where_none_passes(network: nn.Module, images: CalibrationImages) -> None:
    record = compressed(network, images, judge=lambda _: "never good enough").record
    assert record.chosen == record.curve[-1]
    assert record.chosen.macs > layer_table(network, (1, 28, 28)).macs / 1.4


def test_networks_are_compared_on_images_that_no_rank_saw(network: nn.Module, images: CalibrationImages) -> None:
    record = compressed(network, images, speedup=3.0).record
    assert len(record.images) + len(record.compared) == len(images)
    assert not set(record.images) & set(record.compared)


def test_ratio_fixes_the_operations(network: nn.Module, images: CalibrationImages) -> None:
    made = compressed(network, images, speedup=4.0, min_agreement=1.0)
    whole = layer_table(network, (1, 28, 28)).macs
    assert whole / 4.6 < made.record.chosen.macs <= whole / 4
    assert len(made.record.curve) == 1


def test_agreement_on_other_images_is_told_apart(network: nn.Module, images: CalibrationImages) -> None:
    """Upside down and inverted they are nothing that the network was compressed for."""
    pixels = tuple(np.ascontiguousarray(255 - image[::-1]) for image in images.pixels[:100])
    other = replace(images.split(100)[0], pixels=pixels)
    record = compressed(network, images, speedup=4.0, other=other).record
    assert record.other_images == 100
    assert record.other_agreement is not None
    assert record.other_agreement < record.chosen.agreement - 0.05


def test_noise_is_refused(network: nn.Module, images: CalibrationImages) -> None:
    random = np.random.default_rng(0)
    noise = tuple(random.integers(0, 256, image.shape, np.uint8) for image in images.pixels)
    with pytest.raises(CalibrationError, match="look like noise"):
        compressed(network, replace(images, pixels=noise))


def test_too_few_images_are_refused_with_how_many(network: nn.Module, images: CalibrationImages) -> None:
    with pytest.raises(CalibrationError, match="on 60 images and compares networks on 20 others") as refusal:
        compressed(network, images.split(80)[0])
    assert "86 images or more" in refusal.value.hint
