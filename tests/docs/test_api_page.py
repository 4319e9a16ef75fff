"""docs/api.md describes every public name of every package."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

from vgg_runtime import errors

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text("utf-8")

# One directive describes the whole module of errors; the tables of vgg_calibration are members of modules.
DESCRIBED_WITH_THEIR_MODULE = {*errors.__all__, "METHODS", "PRECISIONS", "TARGETS"}


@pytest.mark.parametrize(
    "package", ["vgg_runtime", "vgg_score", "vgg_export", "vgg_models", "vgg_calibration", "vgg_web", "vgg_triton"]
)
def test_every_public_name_is_on_the_api_page(package: str) -> None:
    names = set(import_module(package).__all__) - DESCRIBED_WITH_THEIR_MODULE - {"__version__"}
    assert {name for name in names if f"{package}.{name}" not in PAGE} == set()


@pytest.mark.parametrize(
    "module",
    ["vgg_runtime.errors", "vgg_calibration.precisions", "vgg_calibration.targets", "vgg_bench.results"],
)
def test_module_on_the_api_page_is_described_whole(module: str) -> None:
    assert f"::: {module}\n" in PAGE
