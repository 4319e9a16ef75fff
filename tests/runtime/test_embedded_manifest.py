from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vgg_runtime.embedded_manifest import METADATA_KEY, differing_fields, torchscript_metadata
from vgg_runtime.errors import BundleError
from vgg_runtime.manifest import Manifest, Output, Variant
from vgg_runtime.preprocessing import Preprocessing

MODEL = "onnx-fp32/model.onnx"
MakeManifest = Callable[..., Manifest]


def test_what_is_known_only_once_a_file_is_written_is_not_compared(make_manifest: MakeManifest) -> None:
    carried = {METADATA_KEY: make_manifest().dump()}
    variant = Variant("onnx-fp32", "onnx", "fp32", MODEL, 5, {MODEL: "00" * 32})
    assert differing_fields(make_manifest(variants=(variant,), golden="00" * 32), carried, source=MODEL) == []


def test_every_field_that_differs_is_named(make_manifest: MakeManifest) -> None:
    carried = {METADATA_KEY: make_manifest().dump()}
    edited = make_manifest(output=Output("probabilities", 3), preprocessing=Preprocessing(divide_by=1), labels=None)
    assert differing_fields(edited, carried, source=MODEL) == ["output", "preprocessing", "labels"]


def test_a_model_that_carries_nothing_says_nothing(make_manifest: MakeManifest) -> None:
    assert differing_fields(make_manifest(), {"author": "someone"}, source=MODEL) == []


def test_what_is_no_manifest_is_refused(make_manifest: MakeManifest) -> None:
    with pytest.raises(BundleError, match=f"the metadata of {MODEL} is no manifest"):
        differing_fields(make_manifest(), {METADATA_KEY: "{}"}, source=MODEL)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04broken"])
def test_what_is_no_torchscript_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(BundleError, match=r"model\.pt is no readable TorchScript archive"):
        torchscript_metadata(tmp_path / "model.pt")
