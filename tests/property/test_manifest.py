from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from vgg_runtime.bundle.manifest import (
    Accuracy,
    Architecture,
    Calibration,
    InputSpec,
    LeftOutVariant,
    Manifest,
    OutputSpec,
    ParityFigures,
    Source,
    Tolerance,
    Variant,
)
from vgg_runtime.errors import BundleError
from vgg_runtime.imaging.preprocessing import Preprocessing

TEXT = st.text(max_size=8)
COUNT = st.integers(0, 2**40)
FLOAT = st.floats(allow_nan=False, allow_infinity=False)
SIDE = st.integers(1, 500)


def built(cls: type, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.builds(cls, **fields)


def texts(size: int = 3) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(TEXT, max_size=size).map(tuple)


FIGURES = built(
    ParityFigures,
    samples=COUNT,
    batch_sizes=st.lists(COUNT, max_size=3).map(tuple),
    max_abs_error=FLOAT,
    max_rel_error=FLOAT,
    snr_db=st.none() | FLOAT,
    cosine=FLOAT,
    top1_agreement=FLOAT,
    top1_agreement_with_ties=FLOAT,
    top5_agreement=FLOAT,
    worst_sample=TEXT,
)
TOLERANCE = built(
    Tolerance, name=TEXT, min_snr_db=FLOAT, min_cosine=FLOAT, min_top1_agreement=FLOAT, min_top5_agreement=FLOAT
)
ACCURACY = built(Accuracy, images=COUNT, eager=FLOAT, variant=FLOAT, low=FLOAT, high=FLOAT, p_value=FLOAT)
CALIBRATION = built(
    Calibration,
    method=TEXT,
    images=texts(),
    skipped=texts(),
    sha256=TEXT,
    ranges=st.dictionaries(TEXT, st.tuples(FLOAT, FLOAT), max_size=2),
    layer_snr_db=st.dictionaries(TEXT, st.none() | FLOAT, max_size=2),
    evaluation_snr_db=st.none() | FLOAT,
)


@st.composite
def variants(draw: st.DrawFn) -> Variant:
    file, external_data = draw(TEXT), draw(st.none() | TEXT)
    return Variant(
        draw(TEXT),
        draw(st.sampled_from(["onnx", "torchscript"])),
        draw(TEXT),
        file,
        draw(COUNT),
        {name: draw(TEXT) for name in {file, external_data} - {None}},
        external_data,
        draw(st.none() | st.integers(1, 30)),
        draw(st.none() | FIGURES),
        draw(st.none() | TOLERANCE),
        accuracy=draw(st.none() | ACCURACY),
        target=draw(st.none() | TEXT),
        notes=draw(texts()),
        layers=draw(st.none() | COUNT),
        in_float=draw(texts()),
    )


LEFT_OUT = built(
    LeftOutVariant,
    name=TEXT,
    reason=TEXT,
    parity=st.none() | FIGURES,
    tolerance=st.none() | TOLERANCE,
    remedies=texts(),
)


def permutations(pixels: int) -> st.SearchStrategy[tuple[int, ...] | None]:
    return st.none() | st.permutations(range(pixels)).map(tuple) if pixels <= 64 else st.none()


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    channels = draw(st.sampled_from(["RGB", "BGR", "L"]))
    size, classes = (draw(SIDE), draw(SIDE)), draw(st.integers(1, 5))
    values = st.none() | st.tuples(*[st.floats(0.1, 10)] * len(channels))
    return Manifest(
        draw(built(Architecture, name=TEXT, description=TEXT, reasons=texts(), assumptions=texts())),
        draw(built(Source, kind=TEXT, bytes=st.none() | COUNT, sha256=st.none() | TEXT, notes=texts())),
        InputSpec((draw(st.integers(1, 9) | TEXT), len(channels), *size)),
        OutputSpec(draw(st.sampled_from(["logits", "log_probabilities", "probabilities"])), classes),
        Preprocessing(
            channels,
            draw(st.none() | SIDE | st.tuples(SIDE, SIDE)),
            crop=size,
            divide_by=draw(st.floats(0.1, 300)),
            mean=draw(values),
            std=draw(values),
            exif_orientation=draw(st.booleans()),
            permutation=draw(permutations(math.prod(size))),
        ),
        draw(st.none() | st.tuples(*[TEXT] * classes)),
        tuple(draw(st.lists(variants(), max_size=2, unique_by=lambda variant: variant.name))),
        draw(st.none() | TEXT),
        calibration=draw(st.none() | CALIBRATION),
        tool_versions=draw(st.dictionaries(TEXT, TEXT, max_size=2)),
        left_out=tuple(draw(st.lists(LEFT_OUT, max_size=2))),
    )


def places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value in parsed JSON."""
    inside = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [path, *(place for key, item in inside for place in places(item, (*path, key)))]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.just(10**400),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=4), inside, max_size=3),
    max_leaves=5,
)


def assert_whole_or_refused(text: str | bytes) -> None:
    """Either a manifest that can be written again, or a BundleError: never another exception."""
    try:
        manifest = Manifest.parse(text, source="damaged")
    except BundleError:
        return
    assert Manifest.parse(manifest.dump(), source="again") == manifest


@settings(max_examples=100)
@given(manifests())
def test_text_brings_back_the_same_manifest(manifest: Manifest) -> None:
    assert Manifest.parse(manifest.dump(), source="test") == manifest
    assert Manifest.parse(manifest.dump().encode(), source="test") == manifest


@settings(max_examples=150)
@given(st.data(), manifests(), JSON)
def test_a_value_replaced_by_another_is_accepted_or_refused(data: st.DataObject, manifest: Manifest, new: Any) -> None:
    tree = [json.loads(manifest.dump())]
    *parents, last = data.draw(st.sampled_from(places(tree)[1:]))
    node: Any = tree
    for key in parents:
        node = node[key]
    node[last] = new
    assert_whole_or_refused(json.dumps(tree[0]))


@settings(max_examples=100)
@given(st.data(), manifests())
def test_a_missing_or_unknown_field_is_refused(data: st.DataObject, manifest: Manifest) -> None:
    tree = json.loads(manifest.dump())
    required = ("architecture", "source", "input", "output", "preprocessing", "labels", "variants")
    if data.draw(st.booleans()):
        del tree[data.draw(st.sampled_from(required))]
    else:
        name = data.draw(TEXT)
        assume(name not in tree)
        tree[name] = None
    with pytest.raises(BundleError):
        Manifest.parse(json.dumps(tree), source="damaged")


@settings(max_examples=150)
@given(manifests(), st.integers(0, 10**6), st.integers(0, 20), st.binary(max_size=8))
def test_damaged_bytes_are_accepted_or_refused(manifest: Manifest, start: int, length: int, new: bytes) -> None:
    text = manifest.dump().encode()
    start %= len(text)
    assert_whole_or_refused(text[:start] + new + text[start + length :])


@settings(max_examples=50)
@given(manifests(), st.floats(0, 1, exclude_max=True))
def test_a_truncated_manifest_is_refused(manifest: Manifest, share: float) -> None:
    text = manifest.dump().strip()
    with pytest.raises(BundleError):
        Manifest.parse(text[: int(len(text) * share)], source="damaged")
