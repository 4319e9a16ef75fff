"""The runtime of an arm64 device, on an emulator: ``make test-arm64``.

Python of Debian's arm64, the wheels that a device installs, and QEMU 10 in user mode. QEMU 7.2 is not enough:
onnxruntime 1.31 crashes in it, and it computes SME's outer products of 8-bit values wrongly, with which onnxruntime
multiplies the matrices of onnx-int8-dynamic where the CPU has SME.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vgg_runtime import Classifier
from vgg_runtime.bundle.directory import Bundle
from vgg_runtime.imaging.folders import find_images
from vgg_runtime.metrics import snr_db

BUILD = Path(__file__).parents[2] / "build" / "arm64"

pytestmark = [
    pytest.mark.arm64,
    pytest.mark.skipif(not (BUILD / "ready").is_file(), reason="no emulated arm64 in build/arm64: make test-arm64"),
]

# ARMv8.0; with half precision and dot products; with int8 matrix products, SVE and bfloat16; with SME and all the rest.
CPUS = ("cortex-a53", "cortex-a76", "neoverse-n2", "max")

# In dB, of outputs relative to those of this machine: sums in another order, weights of 16 bits computed as such where
# the CPU can, and activations that are rounded to 8 bits in between.
LEAST_SNR_DB = {"fp32": 100, "fp16": 50, "int8-dynamic": 50, "int8-static": 100, "int8-weights": 50, "int4-weights": 50}

LOGITS = """
import json, sys
import numpy as np
from vgg_runtime import Classifier

bundle, output, *images = sys.argv[1:]
arrays = {}
for name in json.loads(sys.stdin.read()):
    with Classifier(bundle, variant=name, device="cpu") as classifier:
        inputs = np.stack([classifier.preprocess(image) for image in images])
        arrays |= {"inputs": inputs, name: classifier.logits(inputs)}
np.savez(output, **arrays)
"""

Emulate = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def emulate() -> Emulate:
    """Run Python on an emulated CPU."""

    def run(cpu: str, *arguments: object, stdin: str = "") -> subprocess.CompletedProcess[str]:
        python = (
            BUILD / "qemu/usr/bin/qemu-aarch64",
            "-cpu",
            cpu,
            "-L",
            BUILD / "root",
            BUILD / "root/usr/bin/python3.11",
        )
        environment = {"PYTHONPATH": str(BUILD / "site"), "VGG_DEPLOY_CACHE": str(BUILD / "cache")}
        return subprocess.run(
            [*map(str, python), *map(str, arguments)],
            env=environment,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.mark.parametrize("cpu", CPUS)
@pytest.mark.parametrize("kind", ["whole", "embedded"])
def test_self_test_passes_for_every_variant(
    emulate: Emulate, cpu: str, kind: str, whole_bundle: Bundle, embedded_bundle: Bundle
) -> None:
    bundle = whole_bundle if kind == "whole" else embedded_bundle
    done = emulate(cpu, BUILD / "site/bin/vgg-run", "verify", bundle.directory, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    for precision in LEAST_SNR_DB:
        assert f"onnx-{precision}: " in done.stdout
    assert done.stdout.count("on 4 golden samples") == len(LEAST_SNR_DB)


@pytest.mark.parametrize("cpu", CPUS)
def test_outputs_and_pixels_are_those_of_this_machine(
    emulate: Emulate, cpu: str, example: Any, whole_bundle: Bundle, tmp_path: Path
) -> None:
    images, names = find_images([example.images]), [f"onnx-{precision}" for precision in LEAST_SNR_DB]
    done = emulate(cpu, "-c", LOGITS, whole_bundle.directory, tmp_path / "a.npz", *images, stdin=json.dumps(names))
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "a.npz") as arrays:
        for name in names:
            with Classifier(whole_bundle.directory, variant=name, device="cpu") as classifier:
                inputs = np.stack([classifier.preprocess(image) for image in images])
                outputs = classifier.logits(inputs)
            np.testing.assert_array_equal(arrays["inputs"], inputs)
            np.testing.assert_array_equal(arrays[name].argmax(axis=1), outputs.argmax(axis=1))
            assert snr_db(outputs, arrays[name]) > LEAST_SNR_DB[name.removeprefix("onnx-")]


def test_bundle_for_arm64_passes_there(
    emulate: Emulate, example: Any, calibration_photos: Path, untimed_export: Any, tmp_path: Path
) -> None:
    from vgg_export import Quantization

    options = {"quantize": Quantization(("dynamic", "static"), target="arm64"), "calibration": calibration_photos}
    untimed_export(example, example.options | options, tmp_path / "arm64.bundle")
    done = emulate("neoverse-n2", BUILD / "site/bin/vgg-run", "verify", tmp_path / "arm64.bundle", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert "onnx-int8-static: " in done.stdout


def test_prediction_command_prints_what_it_prints_here(emulate: Emulate, example: Any, whole_bundle: Bundle) -> None:
    arguments = ["predict", str(whole_bundle.directory), str(example.images / "coat"), "--variant", "onnx-int8-static"]
    done = emulate("cortex-a76", BUILD / "site/bin/vgg-run", *arguments)
    assert done.returncode == 0, done.stderr
    command = [Path(sys.executable).with_name("vgg-run"), *arguments]
    assert done.stdout == subprocess.check_output(command, text=True)
