"""The forms in which people save the names of their classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["class_names_in"]

_SHOWN = 10


def class_names_in(data: Any) -> tuple[str, ...]:
    """Return one name per class, in the order of the network's outputs.

    Args:
        data: a list of names, a dict of index to name, or one of name to index. An index may be text ("0").

    Raises:
        ValueError: it is of another form, the indices are not 0 to N-1, or a name is blank or not valid text.
    """
    names = _in_order(data)
    if illegible := [str(index) for index, name in enumerate(names) if not name.strip() or not _is_text(name)]:
        more = f" and {len(illegible) - _SHOWN} more" if len(illegible) > _SHOWN else ""
        raise ValueError(f"class {', '.join(illegible[:_SHOWN])}{more} has no legible name")
    return names


def _in_order(data: Any) -> tuple[str, ...]:
    if isinstance(data, list | tuple) and all(isinstance(name, str) for name in data):
        return tuple(data)
    if isinstance(data, Mapping) and data:
        if all(_is_index(key) and isinstance(name, str) for key, name in data.items()):
            return _by_index({int(key): name for key, name in data.items()}, len(data))
        if all(isinstance(key, str) and _is_index(value) for key, value in data.items()):
            return _by_index({int(value): key for key, value in data.items()}, len(data))
    raise ValueError("it is neither a list of names, nor index to name, nor name to index")


def _is_index(value: Any) -> bool:
    if isinstance(value, str):
        return value.isdecimal() and len(value) < 10  # more digits are not an index, and may be too many for int()
    return isinstance(value, int) and not isinstance(value, bool)


def _by_index(names: dict[int, str], entries: int) -> tuple[str, ...]:
    if names.keys() != set(range(entries)):
        raise ValueError(f"the indices are {sorted(names)[:10]}, not each of 0 to {entries - 1} once")
    return tuple(names[index] for index in range(entries))


def _is_text(label: str) -> bool:
    """Whether ``label`` can be encoded: JSON escapes may contain half a surrogate pair, which cannot."""
    return not any("\ud800" <= character <= "\udfff" for character in label)
