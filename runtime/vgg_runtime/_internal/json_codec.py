"""Frozen dataclasses to and from JSON, checked field by field.

Supports the types of the manifest: str, int, float, bool, None, Literal, unions of those, ``tuple[X, ...]``,
tuples of fixed length, ``dict[str, X]`` and nested dataclasses. A JSON object must hold every field without a
default, and nothing else than fields.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import types
import typing
from collections.abc import Hashable, Mapping, Sequence
from functools import cache
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin

from vgg_runtime._internal.shortening import listed

__all__ = ["MismatchError", "dump_json", "from_json", "to_json"]

T = TypeVar("T")


class MismatchError(ValueError):
    """A JSON value is not of the declared type; the message gives its place, the value and the accepted type."""


def to_json(value: Any) -> Any:
    """Return ``value`` as dicts, lists and scalars that :mod:`json` writes without loss."""
    if dataclasses.is_dataclass(value):
        return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: to_json(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [to_json(item) for item in value]
    return value


def dump_json(value: Any, *, indent: int) -> str:
    """Return ``value`` as the text of a JSON file."""
    return json.dumps(to_json(value), indent=indent, allow_nan=False, ensure_ascii=False) + "\n"


def from_json(cls: type[T], data: Any, *, where: str = "") -> T:
    """Return an instance of the dataclass ``cls`` made from parsed JSON.

    Raises:
        MismatchError: a field is missing, unknown or of the wrong type, or the dataclass refused the values.
    """
    if not isinstance(data, Mapping):
        raise MismatchError(f"{where or 'the document'} is {_shown(data)}, not a JSON object")
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    if unknown := sorted(set(data) - set(fields)):
        raise MismatchError(f"{where or 'the document'} has unknown fields: {listed(unknown)}")
    if missing := sorted(name for name, field in fields.items() if name not in data and not _has_default(field)):
        raise MismatchError(f"{where or 'the document'} lacks the fields: {', '.join(missing)}")
    hints = _type_hints(cast("Hashable", cls))
    values = {name: _convert(hints[name], item, f"{where}.{name}".lstrip(".")) for name, item in data.items()}
    try:
        return cls(**values)
    except ValueError as error:
        raise MismatchError(f"{where or 'the document'}: {error}") from error


_type_hints = cache(typing.get_type_hints)


def _has_default(field: dataclasses.Field[Any]) -> bool:
    return field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _convert_union(arguments, value, where)
    if origin is Literal:
        if value in arguments:
            return value
    elif origin is tuple:
        return _convert_tuple(arguments, value, where)
    elif origin is dict:
        if isinstance(value, Mapping):
            return {key: _convert(arguments[1], item, f"{where}[{_shown(key)}]") for key, item in value.items()}
    elif dataclasses.is_dataclass(hint):
        return from_json(cast("type[Any]", hint), value, where=where)
    elif _matches(hint, value):
        return float(value) if hint is float else value
    raise MismatchError(f"{where} is {_shown(value)}, not {_name(hint)}")


def _matches(hint: type, value: Any) -> bool:
    """Whether the JSON ``value`` is of the type ``hint``; numbers must be finite and fit into 64 bits."""
    if hint not in (int, float):
        return isinstance(value, hint)
    if isinstance(value, bool) or not isinstance(value, int if hint is int else int | float):
        return False
    return -(2**63) <= value < 2**63 if hint is int else abs(value) <= sys.float_info.max


def _convert_union(choices: tuple[Any, ...], value: Any, where: str) -> Any:
    for choice in choices:
        try:
            return _convert(choice, value, where)
        except MismatchError as error:
            # For a union with None, the error of the other member is more precise.
            if dataclasses.is_dataclass(choice) and value is not None:
                raise error
    raise MismatchError(f"{where} is {_shown(value)}, not {' or '.join(map(_name, choices))}")


def _convert_tuple(arguments: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise MismatchError(f"{where} is {_shown(value)}, not a list")
    hints = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
    if len(hints) != len(value):
        raise MismatchError(f"{where} has {len(value)} entries, not {len(hints)}")
    return tuple(_convert(hint, item, f"{where}[{i}]") for i, (hint, item) in enumerate(zip(hints, value, strict=True)))


def _name(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(map(repr, get_args(hint)))
    if tuple in (hint, get_origin(hint)):
        return "a list"
    return "null" if hint is type(None) else getattr(hint, "__name__", str(hint))


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
