"""What messages call a parameter: its name in Python, between backticks; the commands print their own flags for it."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import get_type_hints

import pytest

from vgg_calibration import api
from vgg_cli.flags import with_flags
from vgg_export import cli, export
from vgg_export.planning.options import Options

ROOT = Path(__file__).parents[2]

# They declare flags, or write command lines.
ON_THE_COMMAND_LINE = {
    "vgg_export/cli.py",
    "vgg_bench/cli.py",
    "vgg_bench/cases.py",
    "vgg_bench/analysis/selection.py",
    "vgg_bench/measurement/worker.py",
    "vgg_run/cli.py",
    "vgg_run/options.py",
    "vgg_run/score.py",
    "vgg_cli/completion.py",
}
FOLDERS = ("runtime", "models", "calibration", "export")
MODULES = {
    file.relative_to(ROOT / folder).as_posix(): file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py")
}

# A command line that starts with its command may stand in a message.
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
COMMAND_LINE = re.compile(r"(vgg-(run|bench|export)|tritonserver) ([A-Z]+ )?--[a-z-]+")
PARAMETER = re.compile(r"`([a-z_]+(?:\.[a-z_]+)?)(?:=[^`]*)?`")


def texts(file: Path) -> Iterator[str]:
    """Every string in ``file`` but for docstrings, with X in the place of what is formatted into it."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None
        if isinstance(node.body[0], ast.Expr)
    }
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "X" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings | parts:
            yield node.value


@pytest.mark.parametrize("name", sorted(MODULES.keys() - ON_THE_COMMAND_LINE))
def test_message_names_no_flag(name: str) -> None:
    assert [text for text in texts(MODULES[name]) if FLAG.search(COMMAND_LINE.sub("", text))] == []


def parameters_of_an_export() -> set[str]:
    """Arguments of export(), fields of its groups, and both: model, weights, calibration.size."""
    names = set(inspect.signature(export).parameters)
    for group, kind in get_type_hints(Options).items():
        if kind.__module__ == Options.__module__:
            own = {field.name for field in fields(kind)}
            names |= own | {f"{group}.{name}" for name in own}
    return names


# They are called by others, with parameters of their own: the runtime opens backends.
CALLED_BY_OTHERS = {
    "vgg_calibration/api.py",
    "vgg_export/backends/pytorch.py",
    "vgg_export/backends/torchscript.py",
    "vgg_export/backends/torch_device.py",
}
EXPORT_MODULES = {
    name for name in MODULES if name.startswith(("vgg_export/", "vgg_calibration/", "vgg_models/"))
} - CALLED_BY_OTHERS


@pytest.mark.parametrize("name", sorted(EXPORT_MODULES))
def test_parameter_in_message_of_export_exists(name: str) -> None:
    parameters = parameters_of_an_export()
    for text in texts(MODULES[name]):
        for parameter in PARAMETER.finditer(text):
            assert parameter[1] in parameters, text
            assert with_flags(parameter[0], cli.command).startswith("--"), text


def test_parameter_in_message_of_calibration_exists() -> None:
    parameters = {parameter for name in api.__all__ for parameter in inspect.signature(getattr(api, name)).parameters}
    named = {parameter for text in texts(MODULES["vgg_calibration/api.py"]) for parameter in PARAMETER.findall(text)}
    assert named - parameters == set()
    assert named
