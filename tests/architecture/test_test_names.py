"""A test's name is its unit, condition and result: short enough to be read in a list of failures."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize("file", sorted(TESTS.rglob("test_*.py")), ids=lambda file: str(file.relative_to(TESTS)))
def test_names_of_tests_have_fewer_than_60_characters(file: Path) -> None:
    functions = (node for node in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(node, ast.FunctionDef))
    assert [
        function.name for function in functions if function.name.startswith("test_") and len(function.name) >= 60
    ] == []
