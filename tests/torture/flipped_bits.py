"""Single bits of a bundle, flipped one after the other; ``vgg-run verify`` has to notice each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import numpy as np  # noqa: F401 - loaded before the fork
import onnxruntime  # noqa: F401
from fork_server import Answer, ForkServer

from vgg_runtime.bundle.directory import MEASURED, REPORT
from vgg_runtime.verification import verify_bundle

__all__ = ["flipped_bits", "verify"]


def verify(bundle: Path) -> None:
    """What ``vgg-run verify`` calls."""
    verify_bundle(bundle, device="cpu")


def flipped_bits(server: ForkServer, bundle: Path, count: int, seed: int) -> Iterator[tuple[str, Answer]]:
    """Flip ``count`` bits in files chosen at random; "missed" is one that is not found.

    No file is chosen more often for its size. What was measured, and the report on it, have no checksums.
    """
    files = [file for file in sorted(bundle.rglob("*")) if file.is_file() and file.name not in (MEASURED, REPORT)]
    for number in range(count):
        random = Random(f"{seed} {number}")  # noqa: S311 - repeatable
        file = random.choice(files)
        bit = random.randrange(8 * file.stat().st_size)
        with _flipped(file, bit):
            answer = server.call("verify", bundle)
        name = f"bit {bit} of {file.relative_to(bundle)}"
        yield name, Answer("missed", "") if answer.outcome == "read" else answer


@contextmanager
def _flipped(file: Path, bit: int) -> Iterator[None]:
    _flip(file, bit)
    try:
        yield
    finally:
        _flip(file, bit)


def _flip(file: Path, bit: int) -> None:
    with file.open("r+b") as opened:
        opened.seek(bit // 8)
        (byte,) = opened.read(1)
        opened.seek(bit // 8)
        opened.write(bytes([byte ^ 1 << bit % 8]))
