"""A seeded choice of images from a folder, balanced over its class folders."""

from __future__ import annotations

import os
import random
from pathlib import Path

from vgg_runtime.images import find_images

__all__ = ["choose_images", "enough_to_judge", "name_below"]

# Images to judge by: as many as cost about this many multiply-accumulates (some ten seconds of two cores), at least
# 64 (a VGG-16: agreement in steps of 1.6 %), at most 1000 (accuracy to about 1 point).
SAMPLE_MACS, LEAST_SAMPLES, MOST_SAMPLES = 1_000_000_000_000, 64, 1000


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


def enough_to_judge(macs: int) -> int:
    """Return how many images to judge a network by that takes ``macs`` multiply-accumulates for one."""
    return min(max(SAMPLE_MACS // max(macs, 1), LEAST_SAMPLES), MOST_SAMPLES)


def name_below(file: Path, folder: Path) -> str:
    """Return what to call ``file``, which lies below ``folder`` or is it, with "/" on every system.

    Bytes that are not UTF-8 become U+FFFD: no JSON could hold them.
    """
    name = file.relative_to(folder) if file != folder else Path(file.name)
    return os.fsencode(name.as_posix()).decode("utf-8", "replace")
