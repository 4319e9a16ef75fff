"""Seeded changes of the bytes of a file."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

__all__ = ["changed"]


def changed(content: bytes, random: Random) -> bytes:
    """Return the content with one change somewhere."""
    return random.choice(_CHANGES)(content, random.randrange(len(content) + 1), random)


def _overwrite(content: bytes, at: int, random: Random) -> bytes:
    return content[:at] + random.randbytes(random.choice([1, 1, 4, 8])) + content[at + 1 :]


def _flip(content: bytes, at: int, random: Random) -> bytes:
    byte = bytes(byte ^ 1 << random.randrange(8) for byte in content[at : at + 1])
    return content[:at] + byte + content[at + 1 :]


def _extreme(content: bytes, at: int, random: Random) -> bytes:
    number = random.choice([b"\0" * 4, b"\xff" * 4, b"\xff\xff\xff\x7f", b"\x7f\xff\xff\xff", b"\x01\0\0\0"])
    return content[:at] + number + content[at + 4 :]


def _cut(content: bytes, at: int, random: Random) -> bytes:
    return content[:at] + content[at + random.choice([1, 8, 64]) :]


def _truncate(content: bytes, at: int, _: Random) -> bytes:
    return content[:at]


def _repeat(content: bytes, at: int, random: Random) -> bytes:
    return content[:at] + content[max(0, at - random.choice([1, 8, 64])) :]


def _splice(content: bytes, at: int, random: Random) -> bytes:
    other, length = random.randrange(len(content) + 1), random.choice([2, 16])
    return content[:at] + content[other : other + length] + content[at + length :]


# Flips three times as often as the rest: they are what storage and networks do.
_CHANGES: list[Callable[[bytes, int, Random], bytes]] = [
    *[_flip] * 3,
    _overwrite,
    _extreme,
    _cut,
    _truncate,
    _repeat,
    _splice,
]
