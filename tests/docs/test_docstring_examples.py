"""The examples in the docstrings of the public API, each run in a namespace of its own."""

from __future__ import annotations

import doctest
import inspect
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from packages import PACKAGES

from vgg_runtime import errors

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE

# An example of catching one is an example of all.
ERRORS = set(errors.__all__) - {"VggDeployError"}


def public_objects() -> Iterator[Any]:
    """Every public class and function of the packages."""
    for package in PACKAGES:
        module = import_module(package)
        for name in set(module.__all__) - ERRORS:
            value = getattr(module, name)
            if inspect.isclass(value) or inspect.isfunction(value):
                yield pytest.param(value, id=f"{package}.{name}")


@pytest.mark.parametrize("documented", sorted(public_objects(), key=lambda parameter: str(parameter.id)))
def test_examples_of_public_object_run(
    documented: Any, reader_folder: Path, untimed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(reader_folder)
    finder = doctest.DocTestFinder()
    own, *of_members = finder.find(documented, documented.__qualname__, globs={})
    assert own.examples, "it has no example"
    report: list[str] = []
    for test in (own, *of_members):
        doctest.DocTestRunner(optionflags=FLAGS).run(test, out=report.append)
    assert "".join(report) == ""
