"""The images that parity is measured on: real ones where given, else image-like noise."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vgg_export.image_split import Chosen
from vgg_runtime.errors import PreprocessingError
from vgg_runtime.image_choice import name_below
from vgg_runtime.images import read_image
from vgg_runtime.manifest import Input
from vgg_runtime.preprocessing import Preprocessing

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vgg_runtime.manifest import Prepared

__all__ = ["Samples", "pink_noise_samples", "real_samples"]

NOISE_SAMPLES = 5


@dataclass(frozen=True)
class Samples:
    """Images as files and as the network takes them.

    Attributes:
        names: one per image.
        files: encoded bytes of each image.
        batch: float32 (images, channels, height, width), preprocessed.
        given: the same as the variants take them: ``batch``, or uint8 (images, height, width, channels).
        real: whether they are photographs that the user gave.
    """

    names: tuple[str, ...]
    files: tuple[bytes, ...]
    batch: NDArray[np.float32]
    given: Prepared
    real: bool


def real_samples(chosen: Chosen, preprocessing: Preprocessing, takes: Input) -> Samples:
    """Return the chosen images for variants that take ``takes``.

    Raises:
        ImageError: one of them is unreadable.
        PreprocessingError: preprocessing brings one of them to another size.
    """
    files = chosen.files
    names = tuple(name_below(file, chosen.folder) for file in files)
    for file in files:
        read_image(file)  # so that an error names the file
    return _samples(names, tuple(file.read_bytes() for file in files), preprocessing, takes, real=True)


def pink_noise_samples(preprocessing: Preprocessing, takes: Input, *, seed: int) -> Samples:
    """Return seeded images whose amplitude falls as 1/f, as that of photographs does, encoded as PNG.

    White noise alone would hide errors: after the first pooling layers nothing of it is left but its mean.
    The spectrum of natural scenes: D. J. Field, J. Opt. Soc. Am. A 4 (1987), 2379-2394.
    """
    from PIL import Image

    generator = np.random.default_rng(seed)
    shape = _stored_size(preprocessing, takes.size)
    files = []
    for _ in range(NOISE_SAMPLES):
        encoded = io.BytesIO()
        Image.fromarray(_pink_noise(generator, *shape)).save(encoded, "PNG")
        files.append(encoded.getvalue())
    names = tuple(f"1/f noise {i}" for i in range(NOISE_SAMPLES))
    return _samples(names, tuple(files), preprocessing, takes, real=False)


def _samples(
    names: tuple[str, ...], files: tuple[bytes, ...], preprocessing: Preprocessing, takes: Input, *, real: bool
) -> Samples:
    pixels = [preprocessing.pixels(read_image(file)) for file in files]
    for name, (height, width, _) in zip(names, (each.shape for each in pixels), strict=True):
        if (height, width) != takes.size:
            raise PreprocessingError(
                f"{name} has {width} x {height} pixels after preprocessing; the network takes "
                f"{takes.size[1]} x {takes.size[0]}.",
                hint="Give a --preprocess that resizes or crops to that size, such as plain.",
            )
    batch = np.stack([preprocessing.normalize(each) for each in pixels])
    return Samples(names, files, batch, np.stack(pixels) if takes.takes_pixels else batch, real)


def _stored_size(preprocessing: Preprocessing, size: tuple[int, int]) -> tuple[int, int]:
    """A size for the noise image that makes resizing and cropping do some work and end in the network's own size."""
    if preprocessing.output_size is not None:
        return size[0] * 5 // 4, size[1] * 3 // 2
    return size if preprocessing.resize is None else (size[0] * 2, size[1] * 2)


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
