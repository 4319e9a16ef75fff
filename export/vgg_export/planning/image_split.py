"""Which real images are for calibration and which for the judgement; none is for both."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from vgg_calibration.statistics.images import MAX_UNREADABLE
from vgg_runtime._internal.validation import counted
from vgg_runtime.bundle.checksums import sha256_of
from vgg_runtime.errors import CalibrationError, ImageError
from vgg_runtime.imaging.decode import read_image
from vgg_runtime.imaging.folders import choose_images, choose_samples, evaluation_sample_count

__all__ = ["DEFAULT_CALIBRATION_SIZE", "Chosen", "ImageSplit", "split_images"]

DEFAULT_CALIBRATION_SIZE = 100

# Of a calibration folder with no samples beside it, the share that is held out for the judgement.
HELD_OUT = 0.25


@dataclass(frozen=True)
class Chosen:
    """Images below one folder.

    Attributes:
        spare: the next ones, for those among ``files`` that turn out to be unreadable.
    """

    folder: Path
    files: tuple[Path, ...]
    spare: tuple[Path, ...] = ()


@dataclass(frozen=True)
class ImageSplit:
    """Sets of real images that share no content; None where the user gave no folder to take them from."""

    samples: Chosen | None
    calibration: Chosen | None


def split_images(
    samples: Path | None,
    calibration: Path | None,
    *,
    size: int | None,
    macs: int,
    seed: int,
    samples_size: int | None = None,
) -> ImageSplit:
    """Choose sample and calibration images by seed, balanced over class folders.

    Args:
        samples: folder to judge by. Where it is None or the calibration folder itself, a quarter of that is held out.
        size: calibration images that the user asked for; None takes as many as there are, up to the default.
        macs: multiply-accumulates of the network for one image, by which images are held out.
        samples_size: images to judge by; None takes all of ``samples``.

    Raises:
        ImageError: a folder holds no image.
        UsageError: ``samples`` has fewer images than asked for.
        CalibrationError: there is no such folder, or it has fewer images than asked for.
    """
    if calibration is None:
        return ImageSplit(None if samples is None else _choose(samples, samples_size, seed), None)
    if not calibration.exists():
        raise CalibrationError(f"there is no folder {calibration}.", hint="Give a folder of images to --calibration.")
    wanted = size or DEFAULT_CALIBRATION_SIZE
    with_spare = math.ceil(wanted / (1 - MAX_UNREADABLE))
    if samples is None or samples.resolve() == calibration.resolve():
        count = samples_size or evaluation_sample_count(macs)
        found = choose_images(calibration, with_spare + count, seed=seed)
        held_out = min(count, max(1, int(len(found) * HELD_OUT)), len(found) - 1)
        # Unreadable ones are left to the calibration, which skips a few of them.
        judged = Chosen(calibration, tuple(islice(filter(_is_readable, reversed(found)), held_out))[::-1])
    else:
        found = choose_images(calibration, sys.maxsize, seed=seed)
        judged = _choose(samples, samples_size, seed)
    same = {_digest(file) for file in judged.files}
    others = tuple(islice((file for file in found if _digest(file) not in same), with_spare))
    chosen, spare = others[:wanted], others[wanted:]
    if not chosen or (size is not None and len(chosen) < size):
        raise CalibrationError(
            f"{calibration} has {counted(len(chosen), 'image')} for calibration beside those held out to judge by; "
            f"{size or 1} were asked for.",
            hint="Add images, ask for fewer with --calibration-size, or judge by other images with --samples DIR.",
        )
    return ImageSplit(judged if judged.files else None, Chosen(calibration, chosen, spare))


def _choose(folder: Path, size: int | None, seed: int) -> Chosen:
    return Chosen(folder, tuple(choose_samples(folder, size, seed=seed)))


def _is_readable(file: Path) -> bool:
    try:
        read_image(file)
    except ImageError:
        return False
    return True


def _digest(file: Path) -> str | Path:
    """The SHA-256 of a file; itself, where it cannot be read: whoever decodes it says so."""
    try:
        return sha256_of(file)
    except OSError:
        return file
