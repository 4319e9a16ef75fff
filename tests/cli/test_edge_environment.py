"""The edge device: base + [cpu] alone, in an environment of its own, runs a bundle that the build machine wrote."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from vgg_export.variants.registry import VARIANTS
from vgg_runtime import Classifier
from vgg_runtime.bundle.directory import Bundle

SCRIPTS = Path(__file__).parents[2] / ".venv-runtime" / "bin"

pytestmark = pytest.mark.skipif(not SCRIPTS.is_dir(), reason=".venv-runtime is not there: make .venv-runtime/ready")


def on_the_device(*command: str | Path, folder: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([SCRIPTS / command[0], *command[1:]], cwd=folder, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.mark.parametrize("package", ["torch", "torchvision", "onnx", "onnxscript", "safetensors"])
def test_the_build_machines_packages_are_not_there(tmp_path: Path, package: str) -> None:
    refused = subprocess.run([SCRIPTS / "python", "-c", f"import {package}"], capture_output=True, text=True)
    assert f"No module named '{package}'" in refused.stderr


def test_predict_gives_the_build_machines_answers(example, example_bundle: Bundle, tmp_path: Path) -> None:
    command = ("vgg-run", "predict", example_bundle.directory, example.images, "--device", "cpu", "--json")
    entries = json.loads(on_the_device(*command, folder=tmp_path).stdout)
    assert len(entries) == 20
    with Classifier.open(example_bundle.directory, device="cpu") as classifier:
        for entry in entries:
            for there, here in zip(entry["predictions"], classifier.predict(entry["image"]), strict=True):
                assert (there["label"], there["index"]) == (here.label, here.index)
                assert there["probability"] == pytest.approx(here.probability, abs=1e-6)
    right = [entry["predictions"][0]["label"] == Path(entry["image"]).parent.name for entry in entries]
    assert sum(right) >= 18


@pytest.mark.parametrize("variant", [spec.name for spec in VARIANTS if spec.format == "onnx"])
def test_onnx_variants_answer_as_on_the_build_machine(
    example, whole_bundle: Bundle, tmp_path: Path, variant: str
) -> None:
    command = ("vgg-run", "predict", whole_bundle.directory, example.images, "--variant", variant, "--device", "cpu")
    entries = json.loads(on_the_device(*command, "--top-k", "1", "--json", folder=tmp_path).stdout)
    assert [entry["variant"] for entry in entries] == [variant] * 20
    with Classifier.open(whole_bundle.directory, variant=variant, device="cpu") as classifier:
        for entry in entries:
            (there,), (here,) = entry["predictions"], classifier.predict(entry["image"], top_k=1)
            assert there["label"] == here.label
            assert there["probability"] == pytest.approx(here.probability, abs=1e-5)


def test_variants_pass_their_self_test_on_the_device(whole_bundle: Bundle, tmp_path: Path) -> None:
    done = on_the_device("vgg-run", "verify", whole_bundle.directory, "--device", "cpu", folder=tmp_path)
    assert {spec.name for spec in VARIANTS if spec.format == "onnx"} <= set(done.stdout.replace(":", " ").split())


def test_info(example_bundle: Bundle, tmp_path: Path) -> None:
    info = json.loads(on_the_device("vgg-run", "info", example_bundle.directory, "--json", folder=tmp_path).stdout)
    assert info["labels"][8] == "bag"
    assert "ankle-boot" not in on_the_device("vgg-run", "info", example_bundle.directory, folder=tmp_path).stderr


def test_verify(example_bundle: Bundle, tmp_path: Path) -> None:
    done = on_the_device("vgg-run", "verify", example_bundle.directory, "--device", "cpu", folder=tmp_path)
    assert "top-1 agreement 100.0%" in done.stdout


def test_what_the_device_lacks_is_said_with_exit_code_5(example, example_bundle: Bundle, tmp_path: Path) -> None:
    image = example.images / "bag" / "00018.png"
    command = ("vgg-run", "predict", example_bundle.directory, image)
    assert "CUDA" in on_the_device(*command, "--device", "cuda", folder=tmp_path, code=5).stderr


def test_key_without_its_extra_is_exit_code_5(example, example_bundle: Bundle, signer, tmp_path: Path) -> None:
    command = ("vgg-run", "predict", example_bundle.directory, example.images, "--key", signer.public)
    assert "vgg-deploy[sign]" in on_the_device(*command, folder=tmp_path, code=5).stderr


def test_vgg_export_says_what_to_install(example, tmp_path: Path) -> None:
    refused = on_the_device("vgg-export", example.checkpoint, "-o", "a.bundle", folder=tmp_path, code=5)
    assert "vgg-deploy[export,cpu]" in refused.stderr
    assert not list(tmp_path.iterdir())
