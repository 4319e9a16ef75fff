"""What the shell gets when the user presses Tab, from the commands as bash runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from vgg_calibration.ranges.methods import METHODS
from vgg_calibration.targets import TARGETS
from vgg_export.planning.choices import CALIBRATION_METHODS, MODELS, QUANTIZATIONS
from vgg_export.variants.registry import QUANTIZE_OPTIONS
from vgg_models import MODEL_NAMES
from vgg_runtime.bundle.directory import Bundle
from vgg_runtime.imaging.presets import PRESETS

MODULES = {
    "vgg-export": "vgg_export.cli",
    "vgg-run": "vgg_run.cli",
    "vgg-bench": "vgg_bench.cli",
}
COMPLETE = """
import json, sys
from {module} import main
sys.argv = ["{program}"]
try:
    main()
finally:
    heavy = ("torch", "onnx", "onnxruntime", "numpy")
    print(json.dumps([name for name in heavy if name in sys.modules]), file=sys.stderr)
"""


def offered(*words: str | Path) -> list[str]:
    """The words that bash is given at the end of the line ``words``, after "file" where files are offered too."""
    program = str(words[0])
    variable = f"_{program.replace('-', '_').upper()}_COMPLETE"
    environment = {
        variable: "bash_complete",
        "COMP_WORDS": " ".join(map(str, words)),
        "COMP_CWORD": str(len(words) - 1),
    }
    code = COMPLETE.format(module=MODULES[program], program=program)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | environment)
    assert json.loads(done.stderr) == []  # nothing heavy was imported
    lines = (line.split(",", 1) for line in done.stdout.splitlines() if line)
    return [kind if kind == "file" else word for kind, word in lines]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--quantize", ""), list(QUANTIZE_OPTIONS)),
        (("--quantize", "int"), ["int8-weights", "int4-weights"]),
        (("--preprocess", ""), ["file", *PRESETS, "find"]),
        (("--preprocess", "my"), ["file"]),
        (("--target", ""), list(TARGETS)),
        (("--calibration-method", ""), list(METHODS)),
        (("--model", ""), ["file", *MODEL_NAMES]),
        (("--model", "vgg16_"), ["file", "vgg16_bn"]),
        (("--labels", "im"), ["file", "imagenet"]),
        (("",), ["file"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_vgg_export_offers_the_values_of_its_options(words: tuple[str, ...], expected: list[str]) -> None:
    assert offered("vgg-export", *words) == expected


def test_vgg_run_offers_the_variants_of_the_bundle(example_bundle: Bundle) -> None:
    names = [variant.name for variant in example_bundle.manifest.variants]
    command = ("vgg-run", "predict", example_bundle.directory)
    assert offered(*command, "--variant", "") == [*names, "recommended"]
    assert offered(*command, "photo.png", "--variant", "r") == ["recommended"]


def test_vgg_bench_offers_the_variants_of_the_bundle(example_bundle: Bundle) -> None:
    names = [variant.name for variant in example_bundle.manifest.variants]
    assert offered("vgg-bench", example_bundle.directory, "--variant", "") == names


def test_a_name_that_controls_the_terminal_is_not_offered(example_bundle: Bundle, tmp_path: Path) -> None:
    variants = [
        replace(example_bundle.manifest.variants[0], name="onnx-\x1b[2J"),
        replace(example_bundle.manifest.variants[0], name="onnx-mine"),
    ]
    (tmp_path / "bundle.json").write_text(replace(example_bundle.manifest, variants=tuple(variants)).dump())
    assert offered("vgg-bench", tmp_path, "--variant", "") == ["onnx-mine"]


@pytest.mark.parametrize("bundle", ["", "none.bundle"])
def test_without_a_bundle_no_variant_is_offered(bundle: str) -> None:
    assert offered("vgg-run", "predict", *([bundle] if bundle else []), "--variant", "") == ["recommended"]


def test_the_words_are_those_of_the_tables() -> None:
    tables = (QUANTIZE_OPTIONS, tuple(METHODS), MODEL_NAMES)
    assert tables == (QUANTIZATIONS, CALIBRATION_METHODS, MODELS)
