"""The import packages of the distribution, for every test that looks at all of them."""

from __future__ import annotations

import tomllib
from pathlib import Path

__all__ = ["PACKAGES"]

_PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))

PACKAGES = tuple(Path(path).name for path in _PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
