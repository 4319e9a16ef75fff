from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from vgg_runtime.bundle.manifest import (
    InputSpec,
    Manifest,
    OutputSpec,
    ParityFigures,
    Tolerance,
    Variant,
    matches_checksum,
)
from vgg_runtime.errors import BundleError
from vgg_runtime.imaging.preprocessing import Preprocessing

MakeManifest = Callable[..., Manifest]

VARIANT = Variant("onnx-fp32", "onnx", "fp32", "m.onnx", 1, {"m.onnx": "0" * 64})
FIGURES = ParityFigures(5, (1, 2, 5), 1e-6, 1e-6, 120.0, 1.0, 0.5, 1.0, 1.0, "cat.jpg")
TOLERANCE = Tolerance("float rounding", 100.0, 0.9999, 1.0, 0.9)


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
        ({"schema_version": True}, "schema_version is True"),
        ({"labels": ["red", "green"]}, "2 labels for 3 classes"),
        ({"surprise": 1}, "unknown fields: surprise"),
        ({"input": {"shape": ["batch", 3, 6]}}, "shape must have one size"),
        ({"input": {"shape": ["batch", 3, 0, 8]}}, "shape must have one size"),
        ({"input": {"shape": ["batch", "c", 6, 8]}}, "shape must have one size"),
        ({"input": {"shape": [0, 3, 6, 8]}}, "batch size must be >= 1, got"),
        ({"input": {"shape": ["batch", 1, 6, 8]}}, "input has 1 channel"),
        ({"input": {"shape": ["batch", 3, 7, 8]}}, r"preprocessing makes \(6, 8\), input has \(7, 8\)"),
        ({"output": {"kind": "scores", "classes": 3}}, "output.kind is 'scores'"),
        ({"output": {"kind": "logits", "classes": 0}}, "classes must be >= 1, got 0"),
        ({"preprocessing": {"divide_by": 0}}, "finite and > 0"),
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


@pytest.mark.parametrize(("batch", "fixed"), [("batch", None), (4, 4)])
def test_the_batch_is_dynamic_or_fixed(batch: str | int, fixed: int | None) -> None:
    shape = InputSpec((batch, 3, 6, 8))
    assert (shape.batch_size, shape.channels, shape.size) == (fixed, 3, (6, 8))


@pytest.mark.parametrize(
    ("changes", "misses"),
    [
        ({}, []),
        ({"snr_db": None}, []),
        ({"snr_db": 99.9}, ["signal-to-noise ratio in dB 99.9, at least 100"]),
        ({"snr_db": math.nan}, ["signal-to-noise ratio in dB nan, at least 100"]),
        ({"cosine": 0.5}, ["cosine 0.5, at least 0.9999"]),
        ({"top1_agreement_with_ties": 0.75}, ["top-1 agreement 0.75, at least 1"]),
        ({"top5_agreement": 0.75}, ["top-5 agreement 0.75, at least 0.9"]),
    ],
)
def test_figures_below_the_tolerance_are_misses(changes: dict[str, Any], misses: list[str]) -> None:
    assert replace(FIGURES, **changes).misses(TOLERANCE) == misses


def test_unknown_output_size_is_left_to_the_image(make_manifest: MakeManifest) -> None:
    assert make_manifest(preprocessing=Preprocessing(resize=6)).preprocessing.output_size is None


def test_output_kinds_are_the_three(make_manifest: MakeManifest) -> None:
    for kind in ("logits", "log_probabilities", "probabilities"):
        manifest = make_manifest(output=OutputSpec(kind, 3))
        assert Manifest.parse(manifest.dump(), source="test").output.kind == kind
