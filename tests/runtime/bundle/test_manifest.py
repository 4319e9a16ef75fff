from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import FrozenInstanceError, is_dataclass, replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vgg_runtime.bundle import manifest as module
from vgg_runtime.bundle.manifest import (
    Architecture,
    InputSpec,
    Manifest,
    OutputSpec,
    ParityFigures,
    Tolerance,
    Variant,
    matches_checksum,
)
from vgg_runtime.errors import BundleError, ImageError
from vgg_runtime.imaging.preprocessing import Preprocessing

MakeManifest = Callable[..., Manifest]

VARIANT = Variant("onnx-fp32", "onnx", "fp32", "m.onnx", 1, {"m.onnx": "0" * 64})
FIGURES = ParityFigures(5, (1, 2, 5), 1e-6, 1e-6, 120.0, 1.0, 0.5, 1.0, 1.0, "cat.jpg")
TOLERANCE = Tolerance("float rounding", 100.0, 0.9999, 1.0, 0.9)


@pytest.mark.parametrize("description", [cls for cls in vars(module).values() if is_dataclass(cls)])
def test_descriptions_do_not_change(description: type) -> None:
    with pytest.raises(FrozenInstanceError):
        description.__new__(description).name = "another"


def test_text_brings_back_the_same_manifest(make_manifest: MakeManifest) -> None:
    verified = replace(VARIANT, parity=FIGURES, tolerance=TOLERANCE, opset=18)
    manifest = make_manifest(variants=(verified,), labels=("réd", "绿", "\n"), golden="0" * 64)
    assert Manifest.parse(manifest.dump(), source="test") == manifest


def test_text_with_its_checksum_matches_it(make_manifest: MakeManifest) -> None:
    text = make_manifest(variants=(VARIANT,)).dump_with_checksum()
    checksum = Manifest.parse(text, source="test").checksum
    assert checksum is not None
    assert matches_checksum(text.encode(), checksum)
    assert not matches_checksum(text.replace("red", "reb").encode(), checksum)


@pytest.mark.parametrize("checksum", ["", "0", "0" * 64, "\ud800" * 64])
def test_text_matches_no_other_checksum(make_manifest: MakeManifest, checksum: str) -> None:
    assert not matches_checksum(make_manifest(variants=(VARIANT,)).dump_with_checksum().encode(), checksum)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"not json",
        b"null",
        b"[]",
        b"{}",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"9" * 5000,
    ],
)
def test_text_that_is_no_manifest_is_refused_by_its_source(text: bytes) -> None:
    with pytest.raises(BundleError, match=r"^x/bundle\.json is not a bundle manifest"):
        Manifest.parse(text, source="x/bundle.json")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema_version": 2}, "schema_version is 2; this release reads 1"),
        ({"schema_version": 0}, "schema_version is 0"),
        ({"schema_version": True}, "schema_version is True"),
        ({"labels": ["red", "green"]}, "2 labels for 3 classes"),
        ({"labels": ["red", "green", "blue", "grey"]}, "4 labels for 3 classes"),
        ({"surprise": 1}, "unknown fields: surprise"),
        ({"input": {"shape": ["batch", 3, 6]}}, "shape must have one size"),
        ({"input": {"shape": ["batch", 3, 0, 8]}}, "shape must have one size"),
        ({"input": {"shape": ["batch", "c", 6, 8]}}, "shape must have one size"),
        ({"input": {"shape": [0, 3, 6, 8]}}, "batch size must be >= 1, got"),
        ({"input": {"shape": ["batch", 1, 6, 8]}}, "input has 1 channel"),
        ({"input": {"shape": ["batch", 4, 6, 8]}}, "preprocessing makes RGB, input has 4 channels"),
        ({"input": {"shape": ["batch", 3, 7, 8]}}, r"preprocessing makes \(6, 8\), input has \(7, 8\)"),
        ({"output": {"kind": "scores", "classes": 3}}, "output.kind is 'scores'"),
        ({"output": {"kind": "logits", "classes": 0}}, "classes must be >= 1, got 0"),
        ({"preprocessing": {"divide_by": 0}}, "finite and > 0"),
        ({"preprocessing": {"permutation": [1, 0]}}, r"permutes 2 pixels, input has \(6, 8\)"),
        ({"preprocessing": {"resize": 1e400}}, "resize is inf"),
    ],
)
def test_a_field_that_does_not_fit_is_told(make_manifest: MakeManifest, changes: dict[str, Any], message: str) -> None:
    data = json.loads(make_manifest().dump()) | changes
    with pytest.raises(BundleError, match=message):
        Manifest.parse(json.dumps(data).replace("Infinity", "1e999"), source="test")


def test_variants_do_not_share_a_name(make_manifest: MakeManifest) -> None:
    with pytest.raises(ValueError, match="share a name"):
        make_manifest(variants=(VARIANT, VARIANT))


@pytest.mark.parametrize("changes", [{"file": "other"}, {"external_data": "m.data"}, {"sha256": {}}])
def test_checksums_cover_exactly_the_files_of_the_variant(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="sha256 covers"):
        replace(VARIANT, **changes)


def test_a_variant_is_found_by_name_or_the_names_are_listed(make_manifest: MakeManifest) -> None:
    manifest = make_manifest(variants=(VARIANT,))
    assert manifest.variant("onnx-fp32") is VARIANT
    with pytest.raises(BundleError, match=r"no variant 'onnx-int8'(?s:.*)It has onnx-fp32"):
        manifest.variant("onnx-int8")


@pytest.mark.parametrize(("batch", "fixed"), [("batch", None), (4, 4), (1, 1)])
def test_the_batch_is_dynamic_or_fixed(batch: str | int, fixed: int | None) -> None:
    shape = InputSpec((batch, 3, 6, 8))
    assert (shape.batch_size, shape.channels, shape.size) == (fixed, 3, (6, 8))
    assert (shape.image_shape, shape.values, shape.takes_pixels) == ((3, 6, 8), 144, False)


def test_pixels_are_the_same_input_with_channels_last() -> None:
    pixels = InputSpec(("n", 3, 6, 8), "images").as_pixels()
    assert pixels == InputSpec(("n", 6, 8, 3), "images", "uint8", "NHWC")
    assert (pixels.channels, pixels.size, pixels.takes_pixels) == (3, (6, 8), True)


@pytest.mark.parametrize(("dtype", "layout"), [("uint8", "NCHW"), ("float32", "NHWC"), ("float16", "NCHW")])
def test_dtype_and_layout_belong_together(dtype: Any, layout: Any) -> None:
    with pytest.raises(ValueError, match=f"float32 NCHW or uint8 NHWC, got {dtype} {layout}"):
        InputSpec(("batch", 8, 8, 8), "input", dtype, layout)


@pytest.mark.parametrize("batch", ["batch", 1, 8])
def test_a_batch_has_134_million_numbers_at_most(batch: str | int) -> None:
    images = 1 if batch == "batch" else int(batch)
    assert InputSpec((batch, 1, 2**13 // images, 2**14)).channels == 1
    with pytest.raises(ValueError, match="134,217,728 values at most"):
        InputSpec((batch, 1, 2**13 // images + 1, 2**14))


def test_one_pixel_and_one_class_are_enough() -> None:
    assert InputSpec((1, 1, 1, 1)).values == 1
    assert OutputSpec("logits", 1).classes == 1


def test_where_an_architecture_comes_from_is_one_of_four() -> None:
    with pytest.raises(ValueError, match=r"origin must be one of \('recognised', .*, got 'guessed'"):
        Architecture("net", "a network", "guessed")  # type: ignore[arg-type]


@pytest.mark.parametrize("as_pixels", [False, True])
def test_an_image_is_prepared_as_the_variants_take_it(make_manifest: MakeManifest, as_pixels: bool) -> None:
    manifest = make_manifest()
    if as_pixels:
        manifest = replace(manifest, input=manifest.input.as_pixels())
    prepared = manifest.prepare(Image.new("RGB", (9, 9), (255, 0, 51)))
    assert prepared.shape == manifest.input.image_shape
    assert prepared.dtype == manifest.input.dtype
    colour = prepared[0, 0] if as_pixels else prepared[:, 0, 0]
    np.testing.assert_allclose(colour, np.array([255, 0, 51]) / (1 if as_pixels else 255))


def test_an_image_of_another_size_is_refused_by_name(make_manifest: MakeManifest) -> None:
    manifest = make_manifest(preprocessing=Preprocessing())
    with pytest.raises(ImageError, match=r"^cat\.jpg has 7 x 5 pixels after preprocessing; the network takes 8 x 6"):
        manifest.prepare(Image.new("RGB", (7, 5)), name="cat.jpg")


@pytest.mark.parametrize(
    ("changes", "misses"),
    [
        ({}, []),
        ({"snr_db": None}, []),
        ({"snr_db": 100.0, "cosine": 0.9999, "top5_agreement": 0.9}, []),
        ({"top5_agreement": None}, []),
        ({"snr_db": 99.9}, ["signal-to-noise ratio in dB 99.9, at least 100"]),
        ({"snr_db": math.nan}, ["signal-to-noise ratio in dB nan, at least 100"]),
        ({"cosine": 0.5}, ["cosine 0.5, at least 0.9999"]),
        ({"top1_agreement_with_ties": 0.75}, ["top-1 agreement 0.75, at least 1"]),
        ({"top5_agreement": 0.75}, ["top-5 agreement 0.75, at least 0.9"]),
    ],
)
def test_figures_below_the_tolerance_are_misses(changes: dict[str, Any], misses: list[str]) -> None:
    assert replace(FIGURES, **changes).misses(TOLERANCE) == misses


@pytest.mark.parametrize(
    ("snr_db", "centered_snr_db", "expected"),
    [(30.0, 19.9, True), (30.0, 20.0, False), (30.0, 35.0, False), (None, 10.0, False), (30.0, None, False)],
)
def test_a_signal_is_mostly_mean_from_nine_tenths_on(
    snr_db: float | None, centered_snr_db: float | None, expected: bool
) -> None:
    assert replace(FIGURES, snr_db=snr_db, centered_snr_db=centered_snr_db).is_mostly_mean is expected


def test_unknown_output_size_is_left_to_the_image(make_manifest: MakeManifest) -> None:
    assert make_manifest(preprocessing=Preprocessing(resize=6)).preprocessing.output_size is None


def test_output_kinds_are_the_three(make_manifest: MakeManifest) -> None:
    for kind in ("logits", "log_probabilities", "probabilities"):
        manifest = make_manifest(output=OutputSpec(kind, 3))
        assert Manifest.parse(manifest.dump(), source="test").output.kind == kind
