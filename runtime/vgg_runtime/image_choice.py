"""A seeded choice of images from a folder, balanced over its class folders."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

from vgg_runtime.errors import UsageError
from vgg_runtime.images import find_images

__all__ = ["choose_images", "choose_samples", "enough_to_judge", "name_below"]

# Images to hold out to judge by: as many as cost about this many multiply-accumulates (some ten seconds of two cores),
# at least 64 (a VGG-16: agreement in steps of 1.6 %), at most 1000 (accuracy to about 1 point).
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


def choose_samples(folder: Path, size: int | None, *, seed: int = 0) -> list[Path]:
    """Return ``size`` images from below ``folder`` as :func:`choose_images` does, all of them where it is None.

    Raises:
        ImageError: the folder holds no image.
        UsageError: it holds fewer.
    """
    files = choose_images(folder, sys.maxsize, seed=seed)
    if size is not None and len(files) < size:
        raise UsageError(
            f"{folder} has {len(files)} images, --samples-size asks for {size}.",
            hint="Add images, or ask for fewer; without --samples-size all of them are used.",
        )
    return files[:size]


def enough_to_judge(macs: int) -> int:
    """Return how many images to hold out to judge a network by that takes ``macs`` multiply-accumulates for one."""
    return min(max(SAMPLE_MACS // max(macs, 1), LEAST_SAMPLES), MOST_SAMPLES)


def name_below(file: Path, folder: Path) -> str:
    """Return what to call ``file``, which lies below ``folder`` or is it, with "/" on every system.

    Bytes that are not UTF-8 become U+FFFD: no JSON could hold them.
    """
    name = file.relative_to(folder) if file != folder else Path(file.name)
    return os.fsencode(name.as_posix()).decode("utf-8", "replace")
