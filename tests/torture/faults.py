"""Functions that end as files make readers end, each named for its outcome."""

from __future__ import annotations

import os
from pathlib import Path

from vgg_runtime.errors import RefusedInputError

__all__ = ["crash", "large", "read", "refused", "slow", "untyped"]


def read(path: Path) -> None:
    pass


def refused(path: Path) -> None:
    raise RefusedInputError(f"{path} is refused.")


def untyped(path: Path) -> None:
    raise ValueError(path)


def crash(path: Path) -> None:
    os.abort()


def slow(path: Path) -> None:
    while True:
        pass


def large(path: Path) -> None:
    b"x" * (400 << 20)
