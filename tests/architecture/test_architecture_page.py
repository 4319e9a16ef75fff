"""ARCHITECTURE.md names files, tables and layers: each of them is as the code has it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = [ROOT, *(ROOT / name for name in ("runtime", "models", "calibration", "export"))]
PAGE = (ROOT / "ARCHITECTURE.md").read_text("utf-8")

# `vgg_bench/engines.py`, `vgg_export/exporters/`, `pyproject.toml`; a bare `report.md` is a file of a bundle
PATH = re.compile(r"`([\w.-]+/[\w./-]*|[\w-]+\.toml)`")
# `vgg_bench/engines.py` `ENGINES`
TABLE = re.compile(r"`([\w/]+\.py)` `([A-Z_]+)`")

# | | `vgg_bench` | |, and below it | 7 | `cli` | ... |
PACKAGE = re.compile(r"^\| \| `(vgg_\w+)` \| \|\n\|--:\|---\|---\|\n((?:\|.*\|\n)+)", re.MULTILINE)
LAYER = re.compile(r"^\| \d+ \| ([^|]*) \|", re.MULTILINE)


def existing(name: str) -> Path | None:
    """The path that the page calls ``name``: packages stand there without the folder that holds them."""
    return next((folder / name for folder in FOLDERS if (folder / name).exists()), None)


@pytest.mark.parametrize("name", sorted(set(PATH.findall(PAGE))))
def test_path_on_architecture_page_exists(name: str) -> None:
    assert existing(name) is not None


@pytest.mark.parametrize(("name", "table"), sorted(set(TABLE.findall(PAGE))))
def test_table_on_architecture_page_is_defined_there(name: str, table: str) -> None:
    file = existing(name)
    assert file is not None
    assert re.search(rf"^{table}\b.* = ", file.read_text("utf-8"), re.MULTILINE)


def test_architecture_page_names_paths_and_tables() -> None:
    assert len(PATH.findall(PAGE)) > 40
    assert len(TABLE.findall(PAGE)) > 12


def test_layers_on_architecture_page_are_the_contracts() -> None:
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    contracts = {
        contract["containers"][0]: [set(layer.split(" | ")) for layer in contract["layers"]]
        for contract in linter["contracts"]
        if "containers" in contract
    }
    tables = {
        package: [set(re.findall(r"`(\w+)`", names)) for names in LAYER.findall(rows)]
        for package, rows in PACKAGE.findall(PAGE)
    }
    assert set(contracts) == set(linter["root_packages"])
    assert tables == contracts
