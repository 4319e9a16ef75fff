"""Python parameters as the flags of a command.

Messages name a parameter in backticks, as in Python: `min_snr`, `input_size=(64, 48)`,
`quantize=['static']`, and `samples.size` for the size in a group of options. On the command line these are
--min-snr, --input-size 64x48, --quantize static and --samples-size.
"""

from __future__ import annotations

import ast
import re
import shlex

import click

__all__ = ["with_flags"]

_PARAMETER = re.compile(r"`(?P<name>[a-z_]+(?:\.[a-z_]+)?)(?:=(?P<value>[^`]+))?`")


def with_flags(text: str, command: click.Command) -> str:
    """Return ``text`` with the parameters of ``command``, or of one of its commands, replaced by their flags."""
    commands = command.commands.values() if isinstance(command, click.Group) else [command]
    flags = {option.name: option.opts[-1] for member in commands for option in member.params}

    def as_flag(match: re.Match[str]) -> str:
        flag = flags.get(match["name"].replace(".", "_"))
        try:
            return match[0] if flag is None else " ".join(_words(flag, match["value"]))
        except SyntaxError:  # backticks of another origin, such as an error message of torch
            return match[0]

    return _PARAMETER.sub(as_flag, text)


def _words(flag: str, value: str | None) -> list[str]:
    if value is None:
        return [flag]
    match ast.parse(value, mode="eval").body:
        case ast.Constant(bool()):
            return [flag]
        case ast.List(elements):
            return [word for element in elements for word in (flag, _word(element))]
        case element:
            return [flag, _word(element)]


def _word(value: ast.expr) -> str:
    match value:
        case ast.Constant(constant):
            return shlex.quote(str(constant))
        case ast.Tuple(sides):
            return "x".join(map(_word, sides))
    return ast.unparse(value)  # a placeholder, such as N or DIR
