"""The user's own module: ``MODULE:CALLABLE``. This imports and runs their code, because they asked for it."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import reduce
from pathlib import PurePath

from torch import nn

from vgg_runtime.errors import ArchitectureError, UsageError

__all__ = ["build_user_module"]

_HINT = "Name a class or a function that can be called with no arguments, or an nn.Module, as in mymodule:Net."


def build_user_module(spec: str) -> nn.Module:
    """Import the module, from the current directory too, and return what the name in it makes.

    Args:
        spec: ``package.module:Class``; a class or a factory is called with no arguments, an nn.Module is taken as is.

    Raises:
        UsageError: the module or the name in it does not exist, or a path was given.
        ArchitectureError: importing or calling it failed, or it gave no nn.Module.
    """
    module_name, _, path = spec.partition(":")
    if not module_name or not path:
        raise UsageError(f"{spec!r} is not of the form MODULE:CALLABLE.", hint=_HINT)
    if "/" in module_name or module_name.endswith(".py"):
        raise UsageError(
            f"{module_name} is the path of a file; a module is named as Python imports it.",
            hint=f"Run this in the folder that holds it, with --model {PurePath(module_name).stem}:{path}.",
        )
    with _current_directory_on_path():
        found = _find(module_name, path)
        made = found if isinstance(found, nn.Module) else _call(found, spec)
    if not isinstance(made, nn.Module):
        raise ArchitectureError(f"{spec} gave a {type(made).__name__}, not an nn.Module.", hint=_HINT)
    return made


def _find(module_name: str, path: str) -> object:
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not (module_name == error.name or module_name.startswith(error.name + ".")):
            raise ArchitectureError(
                f"importing {module_name} failed: {error}.", hint="Install what it needs."
            ) from error
        raise UsageError(
            f"there is no module {module_name!r} here or among the installed packages.",
            hint=f"Run this in the folder that holds {module_name.partition('.')[0]}.py. Our own names have no colon.",
        ) from error
    except (Exception, SystemExit) as error:  # the user's module may fail in any way
        raise ArchitectureError(
            f"importing {module_name} failed: {_say(error)}.", hint="Mend it, then retry."
        ) from error
    try:
        return reduce(getattr, path.split("."), module)
    except AttributeError as error:
        raise UsageError(f"the module {module_name} has no {path!r}.", hint=_HINT) from error


def _call(found: object, spec: str) -> object:
    if not callable(found):
        raise ArchitectureError(f"{spec} is a {type(found).__name__}, which can't be called.", hint=_HINT)
    try:
        return found()
    except (Exception, SystemExit) as error:  # as above
        raise ArchitectureError(f"calling {spec} with no arguments failed: {_say(error)}.", hint=_HINT) from error


def _say(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


@contextmanager
def _current_directory_on_path() -> Iterator[None]:
    """As ``python -m`` has it, and only while the user's module is imported and called."""
    before = list(sys.path)
    sys.path.insert(0, os.getcwd())
    try:
        yield
    finally:
        sys.path[:] = before
