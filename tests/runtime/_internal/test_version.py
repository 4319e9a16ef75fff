from __future__ import annotations

import importlib.metadata
import subprocess
import sys

import pytest

from vgg_runtime._internal.lazy import distribution_version


def test_a_source_tree_without_metadata_has_a_version_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert distribution_version() == "0+unknown"


def test_the_version_costs_nothing_until_it_is_read() -> None:
    code = (
        "import sys, vgg_runtime; before = 'importlib.metadata' in sys.modules; "
        "vgg_runtime.__version__; print(before, 'importlib.metadata' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("False True\n", "")
