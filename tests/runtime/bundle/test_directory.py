from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from vgg_runtime.bundle.directory import Recommendation, open_bundle, read_recommendation
from vgg_runtime.bundle.manifest import ParityFigures
from vgg_runtime.errors import BundleError

EditManifest = Callable[[Path, Callable[[dict[str, Any]], None]], None]

FIGURES = ParityFigures(4, (1,), 0.1, 0.1, 130.0, 1.0, 1.0, 1.0, None, "a")
MODEL, DATA = "onnx-fp32/model.onnx", "onnx-fp32/model.onnx.data"


def test_a_whole_bundle_opens(bundle: Path) -> None:
    opened = open_bundle(bundle)
    assert set(opened.checksums) == {MODEL, DATA, "golden.npz"}
    assert opened.changed_files() == []
    assert opened.path(MODEL) == bundle / MODEL


def test_a_bundle_may_be_reached_by_a_link(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "latest").symlink_to(bundle)
    assert open_bundle(tmp_path / "latest").changed_files() == []


def test_a_report_and_latencies_may_lie_beside_the_variants(bundle: Path) -> None:
    (bundle / "report.md").write_text("hello")
    (bundle / "measured.json").write_text("{}")
    assert open_bundle(bundle).changed_files() == []


@pytest.mark.parametrize("name", [MODEL, DATA, "golden.npz"])
def test_a_missing_file_is_named(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    with pytest.raises(BundleError, match=f"lacks {name}"):
        open_bundle(bundle)


def test_a_bundle_without_any_variant_is_refused(bundle: Path, edit_manifest: EditManifest) -> None:
    shutil.rmtree(bundle / "onnx-fp32")
    edit_manifest(bundle, lambda data: data.update(variants=[]))
    with pytest.raises(BundleError, match="names no variant"):
        open_bundle(bundle)


def test_verified_variants_without_golden_are_refused(bundle: Path, edit_manifest: EditManifest) -> None:
    def take_golden_out(data: dict[str, Any]) -> None:
        data["variants"][0]["parity"] = asdict(FIGURES)
        del data["golden"]

    (bundle / "golden.npz").unlink()
    edit_manifest(bundle, take_golden_out)
    with pytest.raises(BundleError, match=r"says that onnx-fp32 was verified, and names no golden\.npz"):
        open_bundle(bundle)


@pytest.mark.parametrize("name", ["extra.txt", "onnx-fp32/extra.bin", "deep/er/extra", ".hidden"])
def test_an_extra_file_is_named(bundle: Path, name: str) -> None:
    (bundle / name).parent.mkdir(parents=True, exist_ok=True)
    (bundle / name).write_text("hello")
    with pytest.raises(BundleError, match=f"does not name: {name}"):
        open_bundle(bundle)


@pytest.mark.parametrize("name", [MODEL, "golden.npz"])
def test_a_changed_file_is_found(bundle: Path, name: str) -> None:
    with (bundle / name).open("ab") as file:
        file.write(b"\0")
    assert open_bundle(bundle).changed_files() == [name]


def test_a_changed_figure_in_the_manifest_is_found(bundle: Path) -> None:
    text = open_bundle(bundle).manifest.dump_with_checksum()
    (bundle / "bundle.json").write_text(text)
    assert open_bundle(bundle).changed_files() == []
    (bundle / "bundle.json").write_text(text.replace('"min_snr_db": 100.0', '"min_snr_db": 10.0'))
    assert open_bundle(bundle).changed_files() == ["bundle.json"]


def test_changed_files_of_one_variant_are_its_own(bundle: Path) -> None:
    (bundle / "golden.npz").write_bytes(b"changed")
    opened = open_bundle(bundle)
    assert opened.changed_files(opened.manifest.variant("onnx-fp32")) == []


def test_a_file_that_vanishes_after_opening_is_refused(bundle: Path) -> None:
    opened = open_bundle(bundle)
    (bundle / MODEL).unlink()
    with pytest.raises(BundleError, match="cannot be read"):
        opened.changed_files()


@pytest.mark.parametrize("name", [MODEL, "bundle.json"])
def test_a_linked_file_is_refused(bundle: Path, tmp_path: Path, name: str) -> None:
    shutil.move(bundle / name, tmp_path / "elsewhere")
    (bundle / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match="links or special files"):
        open_bundle(bundle)


def test_a_linked_folder_is_refused(bundle: Path, tmp_path: Path) -> None:
    shutil.move(bundle / "onnx-fp32", tmp_path / "elsewhere")
    (bundle / "onnx-fp32").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match=f"lacks {MODEL}"):
        open_bundle(bundle)


@pytest.mark.parametrize(
    "name",
    ["../model.onnx", "a/../../model.onnx", "/etc/passwd", "..", "", "a//b", "./a", r"..\model.onnx", "C:model.onnx"],
)
def test_a_path_that_is_not_plainly_inside_is_refused(
    bundle: Path, edit_manifest: Callable[..., None], name: str
) -> None:
    def leave(data: dict[str, Any]) -> None:
        data["variants"][0] |= {"file": name, "external_data": None, "sha256": {name: "0" * 64}}

    edit_manifest(bundle, leave)
    with pytest.raises(BundleError, match="not a plain path inside"):
        open_bundle(bundle)


@pytest.mark.parametrize("name", [".", "onnx-fp32", "no\0name", "no\nname"])
def test_a_name_that_is_no_file_is_missing(bundle: Path, edit_manifest: Callable[..., None], name: str) -> None:
    def rename(data: dict[str, Any]) -> None:
        data["variants"][0] |= {"file": name, "external_data": None, "sha256": {name: "0" * 64}}

    edit_manifest(bundle, rename)
    with pytest.raises(BundleError, match="lacks"):
        open_bundle(bundle)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nothing here", "there is no bundle at"),
        ("no\0path", "there is no bundle at"),
        ("x" * 300, "there is no bundle at"),
        ("photo.jpg", r"photo\.jpg is a file"),
    ],
)
def test_what_is_no_directory_is_no_bundle(tmp_path: Path, path: str, message: str) -> None:
    (tmp_path / "photo.jpg").write_text("hello")
    with pytest.raises(BundleError, match=message):
        open_bundle(tmp_path / path)


def test_a_directory_without_a_manifest_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"it has no bundle\.json"):
        open_bundle(tmp_path)


def test_why_a_manifest_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "bundle.json").mkdir()
    with pytest.raises(BundleError, match=r"cannot be read: .*directory"):
        open_bundle(tmp_path)


def test_a_manifest_of_megabytes_is_read(bundle: Path, edit_manifest: EditManifest) -> None:
    edit_manifest(bundle, lambda data: data.update(tool_versions={"torch": "2" * 15 * 2**20}))
    assert open_bundle(bundle).manifest.tool_versions["torch"].endswith("22")


def test_an_enormous_manifest_is_refused_unparsed(bundle: Path) -> None:
    with (bundle / "bundle.json").open("ab") as file:
        file.truncate(17 * 2**20)
    with pytest.raises(BundleError, match="more than 16 MiB"):
        open_bundle(bundle)


def test_unreadable_folder_is_no_empty_one(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = os.scandir

    def deny(path: str) -> object:  # as a user without the right has it; tests may run as one who may do anything
        if str(path).endswith("onnx-fp32"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", deny)
    with pytest.raises(BundleError, match=r"a folder of the bundle cannot be read: .*Permission denied"):
        open_bundle(bundle)


@pytest.mark.parametrize(
    ("measured", "expected"),
    [
        ({"recommended": None, "machine": {"processor": "Abacus"}}, None),
        ({"recommended": ["onnx-fp32"], "machine": {"processor": "Abacus"}}, None),
        ({"recommended": "onnx-fp16", "machine": {"processor": "Abacus"}}, None),  # which the manifest does not have
        ({"recommended": "onnx-fp32", "machine": {"processor": "Abacus"}}, Recommendation("onnx-fp32", "Abacus")),
        ({"recommended": "onnx-fp32", "machine": {"processor": 1}}, Recommendation("onnx-fp32", None)),
    ],
)
def test_what_was_measured_recommends_one_of_the_variants(
    bundle: Path, measured: dict[str, Any], expected: Recommendation | None
) -> None:
    (bundle / "measured.json").write_text(json.dumps(measured))
    assert read_recommendation(open_bundle(bundle)) == expected


def test_a_bundle_that_was_not_timed_recommends_nothing(bundle: Path) -> None:
    assert read_recommendation(open_bundle(bundle)) is None


def test_enormous_measurement_is_not_read_whole(bundle: Path) -> None:
    measured = '{"recommended": "onnx-fp32", "machine": {"processor": "Abacus"}'
    (bundle / "measured.json").write_text(measured + " " * 17 * 2**20 + "}")
    with pytest.raises(BundleError, match=r"measured\.json is not in the form that vgg-export writes"):
        read_recommendation(open_bundle(bundle))


@pytest.mark.parametrize(
    "measured",
    ["", "{", "[]", "{}", '{"recommended": "onnx-fp32"}', '{"recommended": null, "machine": 1}', "\xff"],
)
def test_a_measurement_in_another_form_is_refused(bundle: Path, measured: str) -> None:
    (bundle / "measured.json").write_bytes(measured.encode("latin-1"))
    with pytest.raises(BundleError, match=r"measured\.json is not in the form that vgg-export writes"):
        read_recommendation(open_bundle(bundle))
