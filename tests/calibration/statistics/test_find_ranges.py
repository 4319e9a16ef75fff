from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from vgg_calibration.ranges.methods import METHODS, Range
from vgg_calibration.statistics.collect import cached_ranges
from vgg_calibration.statistics.images import CalibrationImages
from vgg_runtime.imaging.preprocessing import Preprocessing


@pytest.fixture
def file(make_model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``y = -x`` for one plane of 2 x 2."""
    monkeypatch.setenv("VGG_DEPLOY_CACHE", str(tmp_path / "cache"))
    onnx.save(make_model([helper.make_node("Neg", ["x"], ["y"])], {}, ["batch", 1, 2, 2]), tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


@pytest.fixture
def images() -> CalibrationImages:
    pixels = (np.array([[0, 51], [102, 255]], np.uint8)[:, :, np.newaxis],)
    return CalibrationImages(("0.png",), (), ("00" * 32,), pixels, Preprocessing("L"))


def test_ranges_of_the_input_and_of_what_is_computed(file: Path, images: CalibrationImages) -> None:
    done: list[int] = []
    ranges = cached_ranges(file, "digest", images, "minmax", on_image=done.append)
    assert ranges == {"x": Range(0, 1), "y": Range(-1, 0)}
    assert done == [1]


@pytest.mark.parametrize("method", METHODS)
def test_the_second_time_nothing_is_run(file: Path, images: CalibrationImages, method: str) -> None:
    first = cached_ranges(file, "digest", images, method)
    done: list[int] = []
    assert cached_ranges(file, "digest", images, method, on_image=done.append) == first
    assert done == []


@pytest.mark.parametrize("damage", [lambda ranges: ranges.clear(), lambda ranges: ranges.pop("y")])
def test_a_file_that_lacks_an_activation_is_not_taken(
    file: Path, images: CalibrationImages, tmp_path: Path, damage: Callable[[dict[str, Any]], None]
) -> None:
    first = cached_ranges(file, "digest", images, "minmax")
    (stored,) = (tmp_path / "cache" / "ranges").iterdir()
    content = json.loads(stored.read_text())
    damage(content["ranges"])
    stored.write_text(json.dumps(content))
    assert cached_ranges(file, "digest", images, "minmax") == first


@pytest.mark.parametrize("changed", ["model", "images", "preprocessing", "method", "onnxruntime"])
def test_other_circumstances_are_run_again(
    file: Path, images: CalibrationImages, changed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached_ranges(file, "digest", images, "minmax")
    if changed == "onnxruntime":
        monkeypatch.setattr("onnxruntime.__version__", "1.99")
    other = {
        "images": replace(images, digests=("11" * 32,)),
        "preprocessing": replace(images, preprocessing=Preprocessing("L", mean=(0.5,))),
    }
    done: list[int] = []
    cached_ranges(
        file,
        "other" if changed == "model" else "digest",
        other.get(changed, images),
        "entropy" if changed == "method" else "minmax",
        on_image=done.append,
    )
    assert done == [1]
