from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vgg_runtime.bundle.directory import open_bundle
from vgg_runtime.bundle.manifest import Calibration
from vgg_runtime.errors import BundleError, ChecksumError, MissingCapabilityError, UsageError
from vgg_runtime.verification import verify_bundle
from vgg_web.engine import ENGINE_FILES
from vgg_web.writing import WebPage, write_page

MakeBundle = Callable[..., Path]
EditManifest = Callable[[Path, Callable[[dict[str, Any]], None]], None]


@pytest.fixture
def write(tmp_path: Path, engine_stand_in: Path) -> Callable[..., WebPage]:
    def write(bundle: Path, **options: Any) -> WebPage:
        return write_page(bundle, tmp_path / "page", onnxruntime_web=engine_stand_in, **options)

    return write


def names_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_page_holds_a_bundle_that_verifies(write, bundle: Path) -> None:
    page = write(bundle)
    assert verify_bundle(page.directory / "bundle").keys() == {"onnx-fp32"}
    assert page.publishes_samples


def test_page_holds_every_file_that_it_names(write, bundle: Path) -> None:
    directory = write(bundle).directory
    names = names_below(directory)
    assert {"index.html", "page.js", "vgg_runtime.js", *(f"onnxruntime-web/{file}" for file in ENGINE_FILES)} <= {
        *names
    }
    for file in [*directory.glob("*.js"), *directory.glob("vgg_runtime/*.js"), directory / "index.html"]:
        for name in re.findall(
            r'(?:from|src=|href=|ENGINE_MODULES = |wasm: |webgpu: ) ?"([\w./-]+\.\w+)"', file.read_text()
        ):
            folder = directory / "onnxruntime-web" if name.endswith(".mjs") else file.parent
            assert (folder / name).is_file(), f"{file.name} names {name}"


@pytest.mark.parametrize(
    ("weights", "default"),
    [
        (("onnx-fp32", "onnx-int8-static", "onnx-fp16"), "onnx-int8-static"),
        (("onnx-fp32", "onnx-int4-weights", "onnx-fp16"), "onnx-int4-weights"),
    ],
)
def test_default_is_int8_static_or_else_the_smallest(
    write, make_bundle: MakeBundle, edit_manifest: EditManifest, weights: tuple[str, ...], default: str
) -> None:
    bundle = make_bundle(weights=dict.fromkeys(weights, 10.0))

    def shrink(manifest: dict[str, Any]) -> None:
        for variant in manifest["variants"]:
            variant["bytes"] = {"onnx-int4-weights": 1, "onnx-fp16": 2}.get(variant["name"], 3)

    edit_manifest(bundle, shrink)
    page = write(bundle)
    assert page.variant.name == default
    assert [variant.name for variant in open_bundle(page.directory / "bundle").manifest.variants] == [default]


def test_named_variant_is_written_alone(write, make_bundle: MakeBundle) -> None:
    page = write(make_bundle(weights={"onnx-fp32": 10.0, "onnx-int8-static": 10.0}), variant="onnx-fp32")
    assert page.variant.name == "onnx-fp32"
    assert not (page.directory / "bundle" / "onnx-int8-static").exists()


def test_names_of_calibration_images_stay_private(write, make_bundle: MakeBundle) -> None:
    calibration = Calibration("mse", ("private/cat.jpg",), (), "0", {}, {})
    page = write(make_bundle(calibration=calibration))
    assert "private" not in (page.directory / "bundle" / "bundle.json").read_text()


def torchscript(manifest: dict[str, Any]) -> None:
    manifest["variants"][0] |= {"format": "torchscript", "name": "torchscript-fp32"}


def test_torchscript_is_refused_by_its_name(write, make_bundle: MakeBundle, edit_manifest: EditManifest) -> None:
    bundle = make_bundle(weights={"onnx-fp16": 10.0, "onnx-fp32": 10.0})
    edit_manifest(bundle, torchscript)
    with pytest.raises(BundleError, match="torchscript-fp32 is torchscript, which browsers do not run") as refusal:
        write(bundle, variant="torchscript-fp32")
    assert refusal.value.hint == "The ONNX variants are onnx-fp32."


def test_bundle_of_torchscript_alone_is_refused(
    write, bundle: Path, edit_manifest: EditManifest, tmp_path: Path
) -> None:
    edit_manifest(bundle, torchscript)
    with pytest.raises(BundleError, match="no ONNX variant, and browsers run no other"):
        write(bundle)
    assert not (tmp_path / "page").exists()


def test_changed_file_is_refused_and_nothing_is_left(write, bundle: Path, tmp_path: Path) -> None:
    with (bundle / "golden.npz").open("ab") as file:
        file.write(b"\0")
    before = names_below(tmp_path)
    with pytest.raises(ChecksumError, match=r"changed after it was written: golden\.npz"):
        write(bundle)
    assert names_below(tmp_path) == before


def test_page_is_replaced_only_with_overwrite(write, bundle: Path, make_bundle: MakeBundle) -> None:
    first = write(bundle)
    with pytest.raises(UsageError, match=r"page exists\."):
        write(bundle)
    (first.directory / "page.js").write_text("older")
    write(bundle, overwrite=True)
    assert (first.directory / "page.js").read_text() != "older"


@pytest.mark.parametrize("name", ["CNAME", "onnxruntime-web/notes.txt"])
def test_page_with_other_files_is_not_replaced(write, bundle: Path, name: str) -> None:
    page = write(bundle)
    (page.directory / name).write_text("mine")
    with pytest.raises(UsageError, match=f"holds more than a page, so it is not replaced: {name}"):
        write(bundle, overwrite=True)
    assert (page.directory / name).read_text() == "mine"


def test_folder_that_is_no_page_is_not_replaced(write, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "thesis.pdf").write_text("mine")
    with pytest.raises(UsageError, match="is not a page, so it is not replaced"):
        write(bundle, overwrite=True)


def test_place_that_cannot_be_written_is_refused(bundle: Path, engine_stand_in: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MissingCapabilityError, match="the page cannot be written to"):
        write_page(bundle, tmp_path / "file" / "page", onnxruntime_web=engine_stand_in)


def test_summary_tells_what_is_published(write, bundle: Path) -> None:
    page = write(bundle)
    assert page.summary() == [
        f"{page.directory}: onnx-fp32 (0.0 MB) on onnxruntime-web 1.30.0",
        "note: bundle/golden.npz has sample images, which are published with the page",
        f"python3 -m http.server -d {page.directory}",
    ]
    assert len(replace(page, publishes_samples=False).summary()) == 2
