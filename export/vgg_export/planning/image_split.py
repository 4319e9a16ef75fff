"""The split of real images into those for calibration and those for verification; none is in both."""

from __future__ import annotations

import math
import os
import sys
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from vgg_bench.images import choose_samples, evaluation_sample_count
from vgg_calibration.statistics.images import CALIBRATION_SIZE, MAX_UNREADABLE
from vgg_export.planning.options import CalibrationOptions, SampleOptions
from vgg_runtime._internal.validation import counted
from vgg_runtime.bundle.checksums import sha256_of
from vgg_runtime.errors import CalibrationError, ImageError
from vgg_runtime.imaging.decode import read_image
from vgg_runtime.imaging.folders import choose_images

__all__ = ["COMPRESSION_SIZE", "ImageSelection", "ImageSplit", "split_images"]

# Calibration images by default if ranks of layers are measured too, and not only ranges.
COMPRESSION_SIZE = 800

# The share of the calibration folder that is held out for verification if there are no samples.
HELD_OUT = 0.25


@dataclass(frozen=True)
class ImageSelection:
    """Images below one folder.

    Attributes:
        fallback: further images, in case some of ``files`` are unreadable.
    """

    folder: Path
    files: tuple[Path, ...]
    fallback: tuple[Path, ...] = ()


@dataclass(frozen=True)
class ImageSplit:
    """Sets of real images that share no content; None if the user gave no folder for them."""

    samples: ImageSelection | None
    calibration: ImageSelection | None


def split_images(
    samples: SampleOptions,
    calibration: CalibrationOptions,
    *,
    macs: int,
    seed: int,
    default_size: int = CALIBRATION_SIZE,
) -> ImageSplit:
    """Choose sample and calibration images by seed, balanced over class folders.

    Without a folder of samples, or if it is the calibration folder itself, a quarter of that is held out.

    Args:
        macs: multiply-accumulates of the network for one image, which determines how many are held out.
        default_size: calibration images to take if ``calibration.size`` is None.

    Raises:
        ImageError: a folder contains no images.
        UsageError: the folder of samples has fewer images than requested.
        CalibrationError: the calibration folder does not exist, or has fewer images than requested.
    """
    if calibration.folder is None:
        return ImageSplit(None if samples.folder is None else _choose(samples.folder, samples.size, seed), None)
    folder = Path(calibration.folder)
    if not folder.exists():
        raise CalibrationError(f"there is no folder {folder}.", hint="Give a folder of images to `calibration`.")
    size = calibration.size or default_size
    with_fallback = math.ceil(size / (1 - MAX_UNREADABLE))
    if samples.folder is None or Path(samples.folder).resolve() == folder.resolve():
        count = samples.size or evaluation_sample_count(macs)
        files = choose_images(folder, with_fallback + count, seed=seed)
        held_out_count = min(count, max(1, int(len(files) * HELD_OUT)), len(files) - 1)
        # Unreadable ones are left to the calibration, which tolerates a few.
        held_out = ImageSelection(folder, tuple(islice(filter(_is_readable, reversed(files)), held_out_count))[::-1])
    else:
        files = choose_images(folder, sys.maxsize, seed=seed)
        held_out = _choose(samples.folder, samples.size, seed)
    same = {_digest(file) for file in held_out.files}
    others = tuple(islice((file for file in files if _digest(file) not in same), with_fallback))
    range_files, fallback = others[:size], others[size:]
    if len(range_files) < (calibration.size or 1):
        raise CalibrationError(
            f"{folder} has {counted(len(range_files), 'image')} for calibration besides those held out for "
            f"verification; {calibration.size or 1} are needed.",
            hint="Add images, reduce `calibration.size`, or verify on other images with `samples=DIR`.",
        )
    return ImageSplit(held_out if held_out.files else None, ImageSelection(folder, range_files, fallback))


def _choose(folder: str | os.PathLike[str], size: int | None, seed: int) -> ImageSelection:
    return ImageSelection(Path(folder), tuple(choose_samples(Path(folder), size, seed=seed)))


def _is_readable(file: Path) -> bool:
    try:
        read_image(file)
    except ImageError:
        return False
    return True


def _digest(file: Path) -> str | Path:
    """The SHA-256 of a file, or its path if it cannot be read: decoding it will say so."""
    try:
        return sha256_of(file)
    except OSError:
        return file
