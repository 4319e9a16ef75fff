"""A seeded choice of images from a folder, balanced over its class folders."""

from __future__ import annotations

import os
import random
from pathlib import Path

from vgg_runtime.images import find_images

__all__ = ["choose_images", "name_below"]


def choose_images(folder: Path, count: int, *, seed: int = 0) -> list[Path]:
    """Return at most ``count`` images from below ``folder``, the same ones for the same seed and files.

    Images in subfolders are drawn in turns, one per subfolder and round, so that every class is present as long as
    ``count`` allows.

    Raises:
        ImageError: the folder holds no image.
    """
    classes: dict[Path, list[Path]] = {}
    for file in find_images([folder]):
        classes.setdefault(file.parent, []).append(file)
    shuffle = random.Random(seed).shuffle
    for files in classes.values():
        shuffle(files)
    rounds = max(map(len, classes.values()))
    turns = [files[i] for i in range(rounds) for files in classes.values() if i < len(files)]
    return turns[:count]


def name_below(file: Path, folder: Path) -> str:
    """Return what to call ``file``, which lies below ``folder`` or is it, with "/" on every system.

    Bytes that are not UTF-8 become U+FFFD: no JSON could hold them.
    """
    name = file.relative_to(folder) if file != folder else Path(file.name)
    return os.fsencode(name.as_posix()).decode("utf-8", "replace")
