"""``Net`` or ``Net(input_size=32, num_classes=10)``: the name of a callable and its literal arguments, as text.

The text is parsed and never evaluated: an argument is a number, a string, True, False, None, or a list, tuple or dict
of those.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["CallExpression", "parse_call"]

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
        ValueError: it is something else, or an argument is not a literal; the message says which.
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
