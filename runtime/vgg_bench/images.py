"""The images to measure on: a seeded choice from a folder, and their classes by the names of their folders."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from vgg_runtime.errors import UsageError
from vgg_runtime.imaging.folders import choose_images

__all__ = ["choose_samples", "class_of_each", "classes_from_folders", "evaluation_sample_count"]

# How many images to hold out for evaluation: as many as cost about this many multiply-accumulates (some ten seconds on
# two cores), at least 64 (a VGG-16: agreement in steps of 1.6 %), at most 1000 (accuracy to about 1 point).
SAMPLE_MACS, MIN_SAMPLES, MAX_SAMPLES = 1_000_000_000_000, 64, 1000


def choose_samples(folder: Path, size: int | None, *, seed: int = 0) -> list[Path]:
    """Return ``size`` images from below ``folder`` as :func:`choose_images` does, or all of them if it is None.

    Raises:
        ImageError: the folder contains no images.
        UsageError: it holds fewer.
    """
    files = choose_images(folder, sys.maxsize, seed=seed)
    if size is not None and len(files) < size:
        raise UsageError(
            f"{folder} has {len(files)} images; `samples.size` asks for {size}.",
            hint="Add images, or ask for fewer; without `samples.size` all are used.",
        )
    return files[:size]


def evaluation_sample_count(macs: int) -> int:
    """Return how many images to hold out to evaluate a network of ``macs`` multiply-accumulates per image."""
    return min(max(SAMPLE_MACS // max(macs, 1), MIN_SAMPLES), MAX_SAMPLES)


def classes_from_folders(names: Sequence[str], labels: Sequence[str] | None) -> list[int] | None:
    """Return the class of each image as :func:`class_of_each` does, or None if one of them is unknown."""
    classes = [None] if labels is None else class_of_each(names, labels)
    return [index for index in classes if index is not None] if None not in classes else None


def class_of_each(names: Sequence[str], labels: Sequence[str]) -> list[int | None]:
    """Return the class of each image by the name of its folder; None if the folder is not named after a label.

    Case does not matter, and spaces, dashes, underscores and slashes are the same. A folder that matches two labels
    counts as named after none.
    """
    plain = [_plain(label) for label in labels]
    indices = {label: index for index, label in enumerate(plain) if plain.count(label) == 1}
    return [indices.get(_plain(PurePosixPath(name).parent.name)) for name in names]


def _plain(name: str) -> str:
    return re.sub(r"[\s_/-]+", "", name).casefold()
