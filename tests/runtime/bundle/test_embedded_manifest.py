from __future__ import annotations

import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from vgg_runtime.bundle.embedded_manifest import METADATA_KEY, check_manifest_unchanged, torchscript_metadata
from vgg_runtime.bundle.manifest import MAX_MANIFEST_BYTES, Manifest, OutputSpec, Variant
from vgg_runtime.errors import BundleError, ChecksumError
from vgg_runtime.imaging.preprocessing import Preprocessing

MODEL = "onnx-fp32/model.onnx"
MakeManifest = Callable[..., Manifest]

check = partial(check_manifest_unchanged, source=MODEL, as_error=ChecksumError)


def test_fields_known_after_writing_are_not_compared(make_manifest: MakeManifest) -> None:
    carried = {METADATA_KEY: make_manifest().dump()}
    variant = Variant("onnx-fp32", "onnx", "fp32", MODEL, 5, {MODEL: "00" * 32})
    check(make_manifest(variants=(variant,), golden="00" * 32), carried)


def test_every_field_that_differs_is_named(make_manifest: MakeManifest) -> None:
    carried = {METADATA_KEY: make_manifest().dump()}
    edited = make_manifest(output=OutputSpec("probabilities", 3), preprocessing=Preprocessing(divide_by=1), labels=None)
    with pytest.raises(ChecksumError, match="after it was written: output, preprocessing, labels of it and of"):
        check(edited, carried)


def test_a_model_that_carries_nothing_says_nothing(make_manifest: MakeManifest) -> None:
    check(make_manifest(), {"author": "someone"})


def test_what_is_no_manifest_is_refused(make_manifest: MakeManifest) -> None:
    with pytest.raises(BundleError, match=f"the metadata of {MODEL} is not a bundle manifest"):
        check(make_manifest(), {METADATA_KEY: "{}"})


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04broken"])
def test_what_is_no_torchscript_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(BundleError, match=r"model\.pt is not a readable TorchScript archive"):
        torchscript_metadata(tmp_path / "model.pt")


def archive(path: Path, content: bytes, method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr(f"model/extra/{METADATA_KEY}", content)
        file.writestr("model/extra/another.txt", b"\xff")
        file.writestr("model/data.pkl", b"\x80")
    return path


def test_the_manifest_of_an_archive_is_read_and_nothing_else(tmp_path: Path) -> None:
    assert torchscript_metadata(archive(tmp_path / "model.pt", b"{}")) == {METADATA_KEY: "{}"}
    with zipfile.ZipFile(tmp_path / "none.pt", "w"):
        pass
    assert torchscript_metadata(tmp_path / "none.pt") == {}


@pytest.mark.parametrize("damage", ["encrypted", "unknown method", "deflate", "too large", "no text"])
def test_an_archive_that_is_not_sound_is_refused(tmp_path: Path, damage: str) -> None:
    method = zipfile.ZIP_DEFLATED if damage in ("deflate", "too large") else zipfile.ZIP_STORED
    content = {"too large": b" " * (MAX_MANIFEST_BYTES + 1), "no text": b"\xff"}.get(damage, b"{}" * 100)
    file = archive(tmp_path / "model.pt", content, method)
    whole = bytearray(file.read_bytes())
    record = whole.index(b"PK\x01\x02")  # the directory's entry of it
    if damage == "encrypted":
        whole[6] |= 1
        whole[record + 8] |= 1
    if damage == "unknown method":
        whole[8] = whole[record + 10] = 99
    if damage == "deflate":
        start = 30 + len(f"model/extra/{METADATA_KEY}")
        whole[start : start + 3] = b"\xff\xff\xff"
    file.write_bytes(whole)
    with pytest.raises(BundleError, match="is not a readable TorchScript archive"):
        torchscript_metadata(file)
