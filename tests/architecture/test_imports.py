"""What each part of the runtime brings into a process: an edge device has none of the rest."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from vgg_runtime.bundle.directory import Bundle
from vgg_runtime.imaging.folders import find_images

HEAVY = {
    *("numpy", "PIL", "onnxruntime", "torch", "torchvision", "onnx", "onnxscript", "safetensors"),
    *("pyarrow", "fsspec"),
}
BUILD_MACHINE = HEAVY - {"numpy", "PIL", "onnxruntime"}

# The runtime's own dependencies, and what onnxruntime brings along.
ALLOWED = {"click", "numpy", "PIL", "onnxruntime", "flatbuffers", "google", "packaging"}

LIST_IMPORTS = """
import json, sys
before = set(sys.modules)
{code}
after = dict(sys.modules)
installed = [name for name in after if "site-packages" in (getattr(after[name], "__file__", None) or "")]
names = lambda modules: sorted({{name.partition(".")[0] for name in modules}})
print()
print(json.dumps([names(set(after) - before), names(set(installed) - before)]))
"""


def imports_of(code: str, *arguments: str | Path) -> tuple[set[str], set[str]]:
    """Top-level packages that ``code`` imports in a fresh process: all, and those that pip installed."""
    command = [sys.executable, "-c", LIST_IMPORTS.format(code=code), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    everything, installed = json.loads(done.stdout.splitlines()[-1])
    return set(everything), set(installed)


@pytest.mark.parametrize(
    "code",
    [
        "import vgg_runtime",
        "import vgg_run.cli",
        "import vgg_score",
        "import vgg_runtime.errors, vgg_cli.running, vgg_runtime.backends.base",
        "from vgg_runtime import VggDeployError",
        "from vgg_runtime import Classifier",  # it starts to hash before anything of this is imported
    ],
)
def test_nothing_heavy_is_imported_before_it_is_needed(code: str) -> None:
    everything, _ = imports_of(code)
    assert "vgg_runtime" in everything
    assert not everything & HEAVY


def test_help_is_shown_without_anything_heavy() -> None:
    code = "from click.testing import CliRunner; from vgg_run.cli import group; CliRunner().invoke(group, ['-h'])"
    assert not imports_of(code)[0] & HEAVY


PREDICT = """
from vgg_runtime import Classifier, verify_bundle
with Classifier.open(sys.argv[1]) as classifier:
    classifier.predict(sys.argv[2])
verify_bundle(sys.argv[1])
"""

PREDICT_BY_COMMAND = """
from vgg_run.cli import main
sys.argv[1:] = ["predict", *sys.argv[1:], "--json"]
try:
    main()
except SystemExit as leaving:
    assert not leaving.code
"""


@pytest.mark.parametrize("code", [PREDICT, PREDICT_BY_COMMAND])
def test_prediction_imports_the_runtimes_dependencies_alone(example: Any, example_bundle: Bundle, code: str) -> None:
    everything, installed = imports_of(code, example_bundle.directory, find_images([example.images])[0])
    assert {"numpy", "PIL", "onnxruntime"} <= everything
    assert not everything & BUILD_MACHINE
    assert installed <= ALLOWED


SCORE = """
from vgg_score import score
score(sys.argv[1], sys.argv[2], sys.argv[3], format="csv")
"""


def test_scoring_to_csv_needs_no_extra(example: Any, example_bundle: Bundle, tmp_path: Path) -> None:
    _, installed = imports_of(SCORE, example_bundle.directory, example.images, tmp_path / "out")
    assert installed <= ALLOWED
    assert len(list((tmp_path / "out").glob("part-*.csv"))) == 1
