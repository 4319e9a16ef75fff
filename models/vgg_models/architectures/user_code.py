"""The user's own module: ``MODULE:CALLABLE``, with or without literal arguments.

This imports and runs their code, which they asked for by naming it.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path, PurePath

from torch import nn

from vgg_runtime.errors import ArchitectureError, UsageError

__all__ = ["CallExpression", "build_user_module", "parse_call"]


Literal = int | float | str | bool | None | list["Literal"] | tuple["Literal", ...] | dict["Literal", "Literal"]


@dataclass(frozen=True)
class CallExpression:
    """The parts of a call.

    Attributes:
        path: dotted name of the callable, such as "Net" or "Models.Net".
        is_called: whether parentheses follow it.
        arguments: by position.
        keywords: by name.
    """

    path: str
    is_called: bool = False
    arguments: tuple[Literal, ...] = ()
    keywords: Mapping[str, Literal] = field(default_factory=dict)


def parse_call(text: str) -> CallExpression:
    """Return the parts of ``text``, a dotted name with or without a call.

    Raises:
        ValueError: it is something else, or an argument is not a literal; the message names it.
    """
    try:
        expression = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"{text!r} is not a name or a call") from error
    if not isinstance(expression, ast.Call):
        return CallExpression(_dotted_name(expression))
    return CallExpression(
        path=_dotted_name(expression.func),
        is_called=True,
        arguments=tuple(_literal(argument) for argument in expression.args),
        keywords=dict(_keyword(keyword) for keyword in expression.keywords),
    )


def _dotted_name(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_dotted_name(node.value)}.{node.attr}"
    raise ValueError(f"{ast.unparse(node)!r} is not the name of a callable")


def _keyword(keyword: ast.keyword) -> tuple[str, Literal]:
    if keyword.arg is None:
        raise ValueError(f"'**{ast.unparse(keyword.value)}' is not a literal")
    return keyword.arg, _literal(keyword.value)


def _literal(node: ast.expr) -> Literal:
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{ast.unparse(node)!r} is not a literal") from error
    if not _is_plain(value):
        raise ValueError(f"{ast.unparse(node)!r} is not a number, string, boolean, None, list, tuple or dict")
    literal: Literal = value
    return literal


def _is_plain(value: object) -> bool:
    if isinstance(value, dict):
        return all(_is_plain(entry) for pair in value.items() for entry in pair)
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, int | float | str)


_HINT = 'Name a class, a function or an nn.Module, with arguments if it needs them: mymodule:Net or "mymodule:Net(10)".'
_LITERALS = (
    "Arguments are literals: numbers, strings, True, False, None, and lists, tuples and dicts of those. For anything "
    "else write a function that makes the module, and name that."
)


def build_user_module(spec: str) -> nn.Module:
    """Import the module, also from the current directory, and return the nn.Module that the name in it gives.

    Args:
        spec: ``package.module:Class``; a class or a factory is called, with the literal arguments in parentheses
            if there are any, an nn.Module is taken as it is.

    Raises:
        UsageError: the module or the name in it does not exist, a path was given, or an argument is not a literal.
        ArchitectureError: importing or calling it failed, or did not give an nn.Module.
    """
    module_name, _, call = spec.partition(":")
    if not module_name or not call:
        raise UsageError(f"{spec!r} is not of the form MODULE:CALLABLE.", hint=_HINT)
    if "/" in module_name or module_name.endswith(".py"):
        raise UsageError(
            f"{module_name} is the path of a file; a module is named as Python imports it.",
            hint=f"Run this in the folder that holds it, with `model={f'{PurePath(module_name).stem}:{call}'!r}`.",
        )
    expression = _parse(call, spec)
    with _current_directory_on_path():
        target = _find(module_name, expression.path)
        made = target if isinstance(target, nn.Module) and not expression.is_called else _call(target, expression, spec)
    if not isinstance(made, nn.Module):
        raise ArchitectureError(f"{spec} gave a {type(made).__name__}, not an nn.Module.", hint=_HINT)
    return made


def _parse(call: str, spec: str) -> CallExpression:
    try:
        return parse_call(call)
    except ValueError as error:
        raise UsageError(f"`model={spec!r}` can't be used: {error}.", hint=_LITERALS) from error


def _find(module_name: str, path: str) -> object:
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not (module_name == error.name or module_name.startswith(error.name + ".")):
            raise ArchitectureError(
                f"importing {module_name} failed: {error}.", hint="Install what it needs."
            ) from error
        raise UsageError(
            f"no module {module_name!r} in this folder or among the installed packages.",
            hint=f"Run this in the folder that holds {module_name.partition('.')[0]}.py. Our own names have no colon.",
        ) from error
    except (Exception, SystemExit) as error:  # the user's module may fail in any way
        raise ArchitectureError(
            f"importing {module_name} failed: {_say(error)}.", hint="Fix it, then retry."
        ) from error
    try:
        return reduce(getattr, path.split("."), module)
    except AttributeError as error:
        raise UsageError(f"the module {module_name} has no {path!r}.", hint=_HINT) from error


def _call(target: object, expression: CallExpression, spec: str) -> object:
    if isinstance(target, nn.Module):
        raise ArchitectureError(f"{spec} calls an nn.Module.", hint="Leave out the parentheses.")
    if not callable(target):
        raise ArchitectureError(f"{spec} is a {type(target).__name__}, which can't be called.", hint=_HINT)
    _check_arguments(target, expression, spec)
    try:
        return target(*expression.arguments, **expression.keywords)
    except (Exception, SystemExit) as error:  # as above
        raise ArchitectureError(f"calling {spec} failed: {_say(error)}.", hint=_HINT) from error


def _check_arguments(target: Callable[..., object], expression: CallExpression, spec: str) -> None:
    """Check the arguments against the signature before anything is called, and show it in the error."""
    try:
        signature = inspect.signature(target)
    except (ValueError, TypeError):  # built-in callables may have no signature
        return
    try:
        signature.bind(*expression.arguments, **expression.keywords)
    except TypeError as error:
        required = ", ".join(f"{name}=..." for name in _required(signature))
        line = f"{spec.partition(':')[0]}:{expression.path}({required})"
        raise ArchitectureError(
            f"the arguments of {spec} don't match {expression.path}{_unannotated(signature)}: {error}.",
            hint=f"Give them in parentheses, as literals: `model={line!r}`.",
        ) from error


def _unannotated(signature: inspect.Signature) -> inspect.Signature:
    parameters = [parameter.replace(annotation=parameter.empty) for parameter in signature.parameters.values()]
    return signature.replace(parameters=parameters, return_annotation=signature.empty)


def _required(signature: inspect.Signature) -> list[str]:
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = signature.parameters.values()
    return [item.name for item in parameters if item.default is item.empty and item.kind not in variadic]


def _say(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


@contextmanager
def _current_directory_on_path() -> Iterator[None]:
    """Put the current folder on the path, as ``python -m`` does, while the user's module is imported and called."""
    before = list(sys.path)
    sys.path.insert(0, str(Path.cwd()))
    try:
        yield
    finally:
        sys.path[:] = before
