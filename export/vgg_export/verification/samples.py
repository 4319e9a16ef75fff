"""The images that parity is measured on: real ones if the user gave any, else image-like noise."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vgg_export.planning.image_split import ImageSelection
from vgg_runtime.bundle.manifest import InputSpec
from vgg_runtime.errors import PreprocessingError
from vgg_runtime.imaging.decode import read_image
from vgg_runtime.imaging.folders import relative_name
from vgg_runtime.imaging.preprocessing import Preprocessing

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vgg_runtime.bundle.manifest import InputArray

__all__ = ["Samples", "pink_noise_samples", "real_samples"]

NOISE_SAMPLES = 5


@dataclass(frozen=True)
class Samples:
    """Images as files and as pixels; only a few at a time are float32, so that thousands fit into memory.

    Attributes:
        names: one per image.
        files: path of each image, or its encoded bytes.
        pixels: uint8 (images, height, width, channels), before scaling and normalizing.
        takes_pixels: whether the variants take ``pixels``; the network takes float32.
        real: whether they are images of the user's.
    """

    names: tuple[str, ...]
    files: tuple[bytes | Path, ...]
    pixels: NDArray[np.uint8]
    preprocessing: Preprocessing
    takes_pixels: bool
    real: bool

    def planes(self, indices: Iterable[int]) -> NDArray[np.float32]:
        """Return some images as the network takes them: float32 (images, channels, height, width)."""
        return np.stack([self.preprocessing.normalize(self.pixels[i]) for i in indices])

    def inputs(self, indices: Iterable[int]) -> InputArray:
        """Return some images as the variants take them: as planes, or as uint8 pixels."""
        return self.pixels[list(indices)] if self.takes_pixels else self.planes(indices)

    def encoded(self, index: int) -> bytes:
        """Return the bytes of an image's file."""
        file = self.files[index]
        return file if isinstance(file, bytes) else file.read_bytes()


def real_samples(selection: ImageSelection, preprocessing: Preprocessing, input_spec: InputSpec) -> Samples:
    """Return the selected images for variants that take ``input_spec``.

    Raises:
        ImageError: one of them is unreadable.
        PreprocessingError: preprocessing brings one of them to another size.
    """
    files = selection.files
    names = tuple(relative_name(file, selection.folder) for file in files)
    return _samples(names, files, preprocessing, input_spec, real=True)


def pink_noise_samples(preprocessing: Preprocessing, input_spec: InputSpec, *, seed: int) -> Samples:
    """Return seeded images whose amplitude falls as 1/f, as that of photographs does, encoded as PNG.

    White noise would hide errors: after the first pooling layers only its mean is left.
    The spectrum of natural scenes: D. J. Field, J. Opt. Soc. Am. A 4 (1987), 2379-2394.
    """
    from PIL import Image

    generator = np.random.default_rng(seed)
    shape = _stored_size(preprocessing, input_spec.size)
    files = []
    for _ in range(NOISE_SAMPLES):
        encoded = io.BytesIO()
        Image.fromarray(_pink_noise(generator, *shape)).save(encoded, "PNG")
        files.append(encoded.getvalue())
    names = tuple(f"1/f noise {i}" for i in range(NOISE_SAMPLES))
    return _samples(names, tuple(files), preprocessing, input_spec, real=False)


def _samples(
    names: tuple[str, ...],
    files: tuple[bytes | Path, ...],
    preprocessing: Preprocessing,
    input_spec: InputSpec,
    *,
    real: bool,
) -> Samples:
    pixels = np.empty((len(files), *input_spec.size, preprocessing.channel_count), np.uint8)
    for i, (name, file) in enumerate(zip(names, files, strict=True)):
        image = preprocessing.pixels(read_image(file))  # an error names the file
        height, width, _ = image.shape
        if (height, width) != input_spec.size:
            raise PreprocessingError(
                f"{name} has {width} x {height} pixels after preprocessing; the network takes "
                f"{input_spec.size[1]} x {input_spec.size[0]}.",
                hint="Give a `preprocess` that resizes or crops to that size, such as plain.",
            )
        pixels[i] = image
    return Samples(names, files, pixels, preprocessing, input_spec.takes_pixels, real)


def _stored_size(preprocessing: Preprocessing, size: tuple[int, int]) -> tuple[int, int]:
    """A size of the noise image for which resizing and cropping have an effect and give the network's size."""
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
