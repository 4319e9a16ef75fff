"""The real images that ranges are computed on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vgg_runtime.errors import CalibrationError, ImageError
from vgg_runtime.imaging.decode import read_image
from vgg_runtime.imaging.folders import relative_name
from vgg_runtime.imaging.preprocessing import Preprocessing

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CALIBRATION_SIZE", "MAX_UNREADABLE", "CalibrationImages", "read_calibration_images"]

# Images that ranges are computed on, if there are as many.
CALIBRATION_SIZE = 100

# If a larger share of the files is unreadable, it is probably the wrong folder.
MAX_UNREADABLE = 0.1


@dataclass(frozen=True)
class CalibrationImages:
    """Images, oriented, resized and cropped as the network takes them.

    Attributes:
        names: paths relative to the folder, with "/".
        skipped: paths of the unreadable images.
        digests: SHA-256 of each file.
        pixels: one uint8 (height, width, channels) array per image, a quarter of the size of normalized ones.
        preprocessing: the preprocessing that normalizes them.
    """

    names: tuple[str, ...]
    skipped: tuple[str, ...]
    digests: tuple[str, ...]
    pixels: tuple[NDArray[np.uint8], ...]
    preprocessing: Preprocessing

    def __len__(self) -> int:
        return len(self.names)

    @property
    def sha256(self) -> str:
        """Digest over the names and contents of the files."""
        return hashlib.sha256("\n".join(map(str.__add__, self.names, self.digests)).encode()).hexdigest()

    def split(self, count: int) -> tuple[CalibrationImages, CalibrationImages]:
        """Return the first ``count`` images, and the rest."""
        parts = [
            replace(self, names=self.names[part], digests=self.digests[part], pixels=self.pixels[part])
            for part in (slice(count), slice(count, None))
        ]
        return parts[0], parts[1]

    def batches(self, size: int = 1) -> Iterator[NDArray[np.float32]]:
        """Yield the images as float32 NCHW batches of ``size``, the last one filled up with the first images."""
        for start in range(0, len(self), size):
            numbers = [number % len(self) for number in range(start, start + size)]
            yield np.stack([self.preprocessing.normalize(self.pixels[number]) for number in numbers])


def read_calibration_images(
    files: Sequence[Path],
    folder: Path,
    preprocessing: Preprocessing,
    size: tuple[int, int],
    *,
    count: int | None = None,
    on_image: Callable[[int], None] = lambda _: None,
) -> CalibrationImages:
    """Decode ``files``, which are below ``folder``.

    Args:
        size: (height, width) that the network takes.
        count: number of images that are enough; the remaining files are not opened. None for all.
        on_image: called with the number of images done.

    Raises:
        CalibrationError: too many of them are unreadable, or preprocessing brings one to another size.
    """
    names: list[str] = []
    skipped, digests, pixels = [], [], []
    for file in files:
        if len(names) == count:
            break
        name = relative_name(file, folder)
        try:
            content = file.read_bytes()
            image = np.ascontiguousarray(preprocessing.pixels(read_image(content)))
        except (ImageError, OSError) as error:
            skipped.append(f"{name} ({error})")
            continue
        _check_size(name, image, size)
        names.append(name)
        pixels.append(image)
        digests.append(hashlib.sha256(content).hexdigest())
        on_image(len(names))
    total = len(names) + len(skipped)
    if len(skipped) > MAX_UNREADABLE * total:
        raise CalibrationError(
            f"{len(skipped)} of {total} calibration images are unreadable, more than {MAX_UNREADABLE:.0%}: "
            f"{'; '.join(skipped[:5])}{' ...' if len(skipped) > 5 else ''}",
            hint=f"Remove them from {folder}, or give another folder to `calibration`.",
        )
    return CalibrationImages(tuple(names), tuple(skipped), tuple(digests), tuple(pixels), preprocessing)


def _check_size(name: str, pixels: NDArray[np.uint8], size: tuple[int, int]) -> None:
    height, width = pixels.shape[:2]
    if (height, width) != size:
        raise CalibrationError(
            f"{name} has {width} x {height} pixels after preprocessing; the network takes {size[1]} x {size[0]}.",
            hint="Give a `preprocess` that resizes or crops to that size, such as plain.",
        )
