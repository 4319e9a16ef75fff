"""The images that parity is measured on: real ones where given, else image-like noise."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vgg_calibration.image_choice import choose_images
from vgg_runtime.images import read_image
from vgg_runtime.preprocessing import Preprocessing

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Samples", "pink_noise_samples", "real_samples"]

REAL_SAMPLES, NOISE_SAMPLES = 16, 5


@dataclass(frozen=True)
class Samples:
    """Images as files and as the network takes them.

    Attributes:
        names: one per image.
        files: encoded bytes of each image.
        batch: float32 (images, channels, height, width), preprocessed.
        real: whether they are photographs that the user gave.
    """

    names: tuple[str, ...]
    files: tuple[bytes, ...]
    batch: NDArray[np.float32]
    real: bool


def real_samples(folder: Path, preprocessing: Preprocessing, *, seed: int) -> Samples:
    """Return a seeded choice of the images below ``folder``.

    Raises:
        ImageError: the folder holds no image, or one of the chosen is unreadable.
    """
    chosen = choose_images(folder, REAL_SAMPLES, seed=seed)
    names = tuple(file.relative_to(folder).as_posix() for file in chosen)
    for file in chosen:
        read_image(file)  # so that an error names the file
    return _samples(names, tuple(file.read_bytes() for file in chosen), preprocessing, real=True)


def pink_noise_samples(preprocessing: Preprocessing, size: tuple[int, int], *, seed: int) -> Samples:
    """Return seeded images whose amplitude falls as 1/f, as that of photographs does, encoded as PNG.

    White noise alone would hide errors: after the first pooling layers nothing of it is left but its mean.
    The spectrum of natural scenes: D. J. Field, J. Opt. Soc. Am. A 4 (1987), 2379-2394.
    """
    from PIL import Image

    generator = np.random.default_rng(seed)
    shape = _stored_size(preprocessing, size)
    files = []
    for _ in range(NOISE_SAMPLES):
        encoded = io.BytesIO()
        Image.fromarray(_pink_noise(generator, *shape)).save(encoded, "PNG")
        files.append(encoded.getvalue())
    names = tuple(f"1/f noise {i}" for i in range(NOISE_SAMPLES))
    return _samples(names, tuple(files), preprocessing, real=False)


def _samples(names: tuple[str, ...], files: tuple[bytes, ...], preprocessing: Preprocessing, *, real: bool) -> Samples:
    batch = np.stack([preprocessing(read_image(file)) for file in files])
    return Samples(names, files, batch, real)


def _stored_size(preprocessing: Preprocessing, size: tuple[int, int]) -> tuple[int, int]:
    """A size for the noise image that makes resizing and cropping do some work; the network's own where neither is."""
    if preprocessing.output_size is None and preprocessing.resize is None:
        return size
    return size[0] * 5 // 4, size[1] * 3 // 2


def _pink_noise(generator: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    """Return uint8 (height, width, 3) that fills 0..255."""
    frequency = np.hypot(np.fft.fftfreq(height)[:, np.newaxis], np.fft.rfftfreq(width))
    frequency[0, 0] = 1 / max(height, width)
    planes = []
    for _ in range(3):
        spectrum = np.fft.rfft2(generator.standard_normal((height, width))) / frequency
        plane = np.fft.irfft2(spectrum, (height, width))
        planes.append((plane - plane.min()) / np.ptp(plane) * 255)
    return np.stack(planes, axis=2).round().astype(np.uint8)
