from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest

from vgg_runtime import verification
from vgg_runtime.bundle.directory import Bundle, open_bundle
from vgg_runtime.bundle.golden import read_golden
from vgg_runtime.errors import BundleError, ChecksumError, SelfTestError, SignatureError
from vgg_runtime.verification import verify_bundle

MakeBundle = Callable[..., Path]
EditManifest = Callable[..., None]


def replace_golden(bundle: Path, edit_manifest: EditManifest, content: bytes) -> None:
    """Put another golden.npz into the bundle, with the manifest vouching for it."""
    (bundle / "golden.npz").write_bytes(content)
    edit_manifest(bundle, lambda data: data.update(golden=hashlib.sha256(content).hexdigest()))


def test_a_sound_bundle_gives_the_figures_of_every_variant(make_bundle: MakeBundle) -> None:
    figures = verify_bundle(make_bundle(weights={"onnx-fp32": 10.0, "onnx-fp16": 10.000001}), device="cpu")
    assert set(figures) == {"onnx-fp32", "onnx-fp16"}
    for parity in figures.values():
        assert (parity.samples, parity.top1_agreement) == (4, 1)
        assert parity.snr_db is None or parity.snr_db > 100


def test_a_model_of_fixed_batch_size_is_tested_in_such_batches(make_bundle: MakeBundle) -> None:
    parity = verify_bundle(make_bundle(batch=3))["onnx-fp32"]
    assert (parity.samples, parity.batch_sizes) == (3, (3,))


def test_a_bundle_that_was_not_verified_has_no_figures(make_bundle: MakeBundle) -> None:
    assert verify_bundle(make_bundle(golden_samples=None)) == {}


@pytest.mark.parametrize("name", ["onnx-fp32/model.onnx", "onnx-fp32/model.onnx.data", "golden.npz"])
def test_a_changed_file_is_named(bundle: Path, name: str) -> None:
    with (bundle / name).open("ab") as file:
        file.write(b"\0")
    with pytest.raises(ChecksumError, match=name):
        verify_bundle(bundle)


@pytest.mark.parametrize("golden_samples", [4, None])
@pytest.mark.parametrize(
    ("field", "edit"),
    [
        ("preprocessing", lambda data: data["preprocessing"].update(mean=[0.5, 0.5, 0.5])),
        ("labels", lambda data: data.update(labels=data["labels"][::-1])),
        ("output", lambda data: data["output"].update(kind="probabilities")),
    ],
)
def test_an_edited_manifest_is_found_by_what_the_models_carry(
    make_bundle: MakeBundle, edit_manifest: EditManifest, golden_samples: int | None, field: str, edit: Any
) -> None:
    bundle = make_bundle(golden_samples=golden_samples)
    verify_bundle(bundle)
    edit_manifest(bundle, edit)
    with pytest.raises(ChecksumError, match=rf"bundle\.json was changed after it was written: {field} of it"):
        verify_bundle(bundle)


def test_model_without_its_copy_of_the_manifest_is_refused(
    bundle: Path, edit_manifest: EditManifest, write_model: Callable[..., None]
) -> None:
    model = bundle / "onnx-fp32" / "model.onnx"
    model.with_suffix(".onnx.data").unlink()  # the writer appends
    write_model(model, external_data="model.onnx.data")
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    edit_manifest(bundle, lambda data: data["variants"][0]["sha256"].update({"onnx-fp32/model.onnx": digest}))
    with pytest.raises(BundleError, match=r"model\.onnx carries no copy of the manifest"):
        verify_bundle(bundle)


def test_variant_below_its_tolerance_is_named_with_figures(make_bundle: MakeBundle) -> None:
    bundle = make_bundle(weights={"onnx-fp32": 10.0, "onnx-int8-static": 11.0})
    with pytest.raises(SelfTestError, match="onnx-int8-static: signal-to-noise ratio in dB 20, at least 100") as error:
        verify_bundle(bundle)
    assert "onnx-fp32" not in error.value.message
    assert error.value.hint.startswith("Run another variant: onnx-fp32 passed. The cause may be this onnxruntime, ")


def test_outputs_that_are_not_finite_are_a_miss(make_bundle: MakeBundle) -> None:
    with pytest.raises(SelfTestError, match="top-1 agreement 0"):
        verify_bundle(make_bundle(weights={"onnx-fp32": float("nan")}))


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04broken"])
def test_an_unreadable_golden_is_refused(bundle: Path, edit_manifest: EditManifest, content: bytes) -> None:
    replace_golden(bundle, edit_manifest, content)
    with pytest.raises(BundleError, match=r"golden\.npz is unreadable"):
        verify_bundle(bundle)


@pytest.mark.parametrize(
    "arrays",
    [
        {"input": np.zeros((2, 3, 6, 8), np.float32)},
        {"input": np.array([object()]), "output": np.zeros((1, 3))},
        {"input": np.zeros((2, 3, 6, 8), np.float32), "output": np.zeros((2, 4), np.float32)},
        {"input": np.zeros((2, 3, 6, 8), np.float32), "output": np.zeros((1, 3), np.float32)},
        {"input": np.zeros((0, 3, 6, 8), np.float32), "output": np.zeros((0, 3), np.float32)},
        {"input": np.zeros((), np.float32), "output": np.zeros((0, 3), np.float32)},
        {"input": np.zeros((2, 3, 6, 8), np.float32), "output": np.array([["a", "b", "c"]] * 2)},
        {"input": np.zeros((2, 3, 6, 8), np.uint8), "output": np.zeros((2, 3), np.float32)},
        {"input": np.zeros((2, 3, 8, 6), np.float32), "output": np.zeros((2, 3), np.float32)},
    ],
    ids=[
        *("no outputs", "pickled", "other classes", "fewer outputs", "no samples", "no axes", "strings", "other dtype"),
        "other size",
    ],
)
def test_golden_arrays_that_do_not_fit_are_refused(
    bundle: Path, edit_manifest: EditManifest, tmp_path: Path, arrays: dict[str, Any]
) -> None:
    np.savez(tmp_path / "other.npz", **arrays)
    replace_golden(bundle, edit_manifest, (tmp_path / "other.npz").read_bytes())
    with pytest.raises(BundleError, match=r"golden\.npz"):
        verify_bundle(bundle)


@pytest.mark.parametrize("declared", [(10**6, 3, 6, 8), (10**12, 3, 6, 8)])
def test_golden_is_not_allocated_as_its_header_declares(
    bundle: Path, edit_manifest: EditManifest, tmp_path: Path, declared: tuple[int, ...]
) -> None:
    with ZipFile(tmp_path / "large.npz", "w") as archive:
        for name, shape in (("input", declared), ("output", (declared[0], 3))):
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
    replace_golden(bundle, edit_manifest, (tmp_path / "large.npz").read_bytes())
    with pytest.raises(BundleError, match="does not match the manifest: inputs float32"):
        verify_bundle(bundle)


def test_too_few_golden_samples_for_the_batch_are_refused(make_bundle: MakeBundle) -> None:
    with pytest.raises(BundleError, match="does not match the manifest"):
        verify_bundle(make_bundle(batch=8, golden_samples=4))


def test_signed_bundle_gives_its_figures_with_the_key(signed_bundle: Path, signer: Any) -> None:
    assert set(verify_bundle(signed_bundle, device="cpu", key=signer.public)) == {"onnx-fp32"}


def test_signature_is_verified_before_the_files(bundle: Path, signer: Any) -> None:
    (bundle / "golden.npz").write_bytes(b"changed")
    with pytest.raises(SignatureError, match="is not signed"):
        verify_bundle(bundle, device="cpu", key=signer.public)


def test_key_refuses_edited_tolerances(signed_bundle: Path, signer: Any, edit_manifest: EditManifest) -> None:
    """Their copy inside the models does not have them."""
    edit_manifest(signed_bundle, lambda data: data["variants"][0]["tolerance"].update(min_snr_db=0.0))
    verify_bundle(signed_bundle, device="cpu")
    with pytest.raises(SignatureError, match=r"not the signature of bundle\.json"):
        verify_bundle(signed_bundle, device="cpu", key=signer.public)


def test_key_refuses_what_is_swapped_after_the_comparison(
    signed_bundle: Path, signer: Any, edit_manifest: EditManifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_and_swap(bundle: Bundle) -> Any:
        edit_manifest(signed_bundle, lambda data: data.update(labels=["a", "b", "c"]))
        return read_golden(bundle)

    monkeypatch.setattr(verification, "read_golden", read_and_swap)
    with pytest.raises(SignatureError, match=r"not the signature of bundle\.json"):
        verify_bundle(signed_bundle, device="cpu", key=signer.public)


def test_golden_is_compared_with_its_checksum_when_read(bundle: Path) -> None:
    with (bundle / "golden.npz").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(BundleError, match=r"changed after it was written: golden\.npz"):
        read_golden(open_bundle(bundle))
