from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vgg_runtime import Classifier
from vgg_runtime.bundle.manifest import InputSpec
from vgg_runtime.errors import BundleError, ChecksumError, MissingCapabilityError, SignatureError, UsageError
from vgg_runtime.imaging.preprocessing import Preprocessing
from vgg_triton.repository import check_model, write_model

MakeBundle = Callable[..., Path]
EditManifest = Callable[[Path, Callable[[dict[str, Any]], None]], None]


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models"


def names_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_model_has_config_labels_and_first_version(bundle: Path, models: Path) -> None:
    model = write_model(bundle, models)
    assert (model.directory, model.version, model.variant.name) == (models / "colours", 1, "onnx-fp32")
    assert names_below(models / "colours") == ["1/model.onnx", "1/model.onnx.data", "config.pbtxt", "labels.txt"]
    assert (models / "colours" / "labels.txt").read_text() == "red\nlime\nblue\n"
    assert 'name: "colours"\n' in (models / "colours" / "config.pbtxt").read_text()


def test_written_model_gives_the_outputs_of_the_bundle(bundle: Path, models: Path) -> None:
    model = write_model(bundle, models)
    batch = np.random.default_rng(0).random((2, 3, 6, 8), dtype=np.float32)
    with (
        Classifier(bundle, device="cpu") as there,
        Classifier(model.directory / "1" / "model.onnx", device="cpu") as here,
    ):
        np.testing.assert_array_equal(here.logits(batch), there.logits(batch))


def test_later_run_adds_a_version_and_changes_nothing_else(make_bundle: MakeBundle, models: Path) -> None:
    bundle = make_bundle(weights={"onnx-fp32": 10.0, "onnx-fp16": 20.0})
    write_model(bundle, models, max_batch=4)
    config = models / "colours" / "config.pbtxt"
    config.write_text(edited := config.read_text() + "# tuned by hand\n")
    before = names_below(models)
    model = write_model(bundle, models, variant="onnx-fp16")
    assert (model.version, model.variant.name) == (2, "onnx-fp16")
    assert set(names_below(models)) - set(before) == {"colours/2/model.onnx", "colours/2/model.onnx.data"}
    assert config.read_text() == edited


def test_version_is_one_more_than_the_highest(bundle: Path, models: Path) -> None:
    directory = write_model(bundle, models).directory
    (directory / "1").rename(directory / "9")
    (directory / "notes").mkdir()
    assert write_model(bundle, models).version == 10


@pytest.mark.parametrize(
    ("aspect", "changes"),
    [
        ("input", {"input": InputSpec((2, 3, 6, 8)), "batch": 2}),
        ("labels", {"labels": ("lime", "red", "blue")}),
        ("preprocessing", {"preprocessing": Preprocessing(resize=(6, 8), mean=(0.5, 0.5, 0.5))}),
    ],
)
def test_version_that_clients_would_misuse_is_refused(
    make_bundle: MakeBundle, models: Path, aspect: str, changes: dict[str, Any]
) -> None:
    bundle = make_bundle()
    write_model(bundle, models)
    shutil.rmtree(bundle)
    before = names_below(models)
    with pytest.raises(UsageError, match=f"has another {aspect} than this bundle"):
        write_model(make_bundle(**changes), models)
    assert names_below(models) == before
    assert write_model(bundle, models, name="other").version == 1


@pytest.mark.parametrize("setting", [{"max_batch": 4}, {"instances": 2}, {"device": "cpu"}])
def test_settings_of_an_existing_model_are_refused(bundle: Path, models: Path, setting: dict[str, Any]) -> None:
    write_model(bundle, models)
    with pytest.raises(UsageError, match=r"config\.pbtxt has the settings of this model, got `\w+="):
        write_model(bundle, models, **setting)
    assert not (models / "colours" / "2").exists()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"max_batch": 0}, "`max_batch` must be an integer >= 1"),
        ({"instances": 1.5}, "`instances` must be an integer >= 1"),
        ({"device": "gpu"}, "`device` must be 'auto', 'cpu' or 'cuda', got 'gpu'"),
        ({"name": "../outside"}, "`name` must consist of"),
        ({"name": ".hidden"}, "`name` must consist of"),
    ],
)
def test_setting_out_of_range_is_refused(bundle: Path, models: Path, setting: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        write_model(bundle, models, **setting)
    assert not models.exists()


def test_max_batch_of_a_fixed_batch_is_refused(make_bundle: MakeBundle, models: Path) -> None:
    bundle = make_bundle(batch=2)
    with pytest.raises(UsageError, match="fixed batch of 2, got `max_batch=4`"):
        write_model(bundle, models, max_batch=4)
    assert "max_batch_size: 0" in (write_model(bundle, models).directory / "config.pbtxt").read_text()


def test_torchscript_is_refused_by_its_name(make_bundle: MakeBundle, edit_manifest: EditManifest, models: Path) -> None:
    bundle = make_bundle(weights={"onnx-fp16": 10.0, "onnx-fp32": 10.0})
    edit_manifest(
        bundle, lambda data: data["variants"][0].update({"format": "torchscript", "name": "torchscript-fp32"})
    )
    with pytest.raises(BundleError, match="torchscript-fp32 is torchscript; Triton runs the ONNX variants") as refusal:
        write_model(bundle, models, variant="torchscript-fp32")
    assert refusal.value.hint == "They are onnx-fp32."


def test_changed_file_is_refused_and_nothing_is_left(bundle: Path, models: Path, tmp_path: Path) -> None:
    with (bundle / "onnx-fp32" / "model.onnx.data").open("r+b") as file:
        file.write(b"\1")
    before = names_below(tmp_path)
    with pytest.raises(ChecksumError, match=r"changed after it was written: onnx-fp32/model\.onnx\.data"):
        write_model(bundle, models)
    assert names_below(tmp_path) == before


def test_bundle_by_another_key_is_refused(signed_bundle: Path, make_keys: Any, models: Path, tmp_path: Path) -> None:
    with pytest.raises(SignatureError):
        write_model(signed_bundle, models, key=make_keys(tmp_path, "other").public)
    assert not models.exists()


def test_folder_that_is_no_model_is_left_alone(bundle: Path, models: Path) -> None:
    (models / "colours").mkdir(parents=True)
    with pytest.raises(UsageError, match="is not a model of this kind"):
        write_model(bundle, models)
    assert names_below(models) == []


def test_place_that_cannot_be_written_is_refused(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MissingCapabilityError, match="the model cannot be written to"):
        write_model(bundle, tmp_path / "file" / "models")


def test_nothing_unfinished_is_ever_inside_the_repository(
    bundle: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def copy(source: Path, destination: Path) -> None:
        seen.extend(names_below(models))
        destination.write_bytes(source.read_bytes())

    monkeypatch.setattr(shutil, "copyfile", copy)
    write_model(bundle, models)
    first = names_below(models)
    write_model(bundle, models)
    assert set(seen) == set(first)


@pytest.mark.parametrize(
    ("folder", "name"), [("net.bundle", "net"), ("net v2.bundle", "net_v2"), (".bundle", "model"), ("é", "_")]
)
def test_default_name_is_that_of_the_bundle(models: Path, folder: str, name: str) -> None:
    assert check_model(models, folder) == models / name


def test_line_breaks_in_labels_become_spaces(make_bundle: MakeBundle, models: Path) -> None:
    model = write_model(make_bundle(labels=("red\nish", "lime", "blue")), models)
    assert (model.directory / "labels.txt").read_text() == "red ish\nlime\nblue\n"


def test_files_are_readable_as_the_umask_says(bundle: Path, models: Path) -> None:
    before = os.umask(0o022)
    try:
        directory = write_model(bundle, models).directory
    finally:
        os.umask(before)
    assert [oct(path.stat().st_mode & 0o777) for path in (directory, directory / "1")] == ["0o755", "0o755"]


def test_summary_tells_what_clients_send(bundle: Path, models: Path) -> None:
    model = write_model(bundle, models)
    assert model.summary() == [
        f"{models}/colours/1: onnx-fp32 (0.0 MB)",
        "note: clients send images as float32 CHW 3 x 6 x 8, preprocessed",
        f"tritonserver --model-repository {models}",
    ]
    pixels = replace(model, input=model.input.as_pixels())
    assert pixels.summary()[1] == "note: clients send images as uint8 HWC 6 x 8 x 3, before scaling"
