"""The candidates of ``--preprocess find``: presets, other common scalings and the statistics of the samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from vgg_runtime.imaging.preprocessing import Channels, Preprocessing
from vgg_runtime.imaging.presets import PRESETS, preset

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Candidate", "Geometry", "candidates", "cropped", "own_statistics", "squashed"]

Size = tuple[int, int]

# The fields resize and crop of a Preprocessing.
Geometry = tuple[int | Size | None, Size | None]

# Scalings that no preset has, for images squashed to the network's size. "caffe" is that of the
# original VGGs (K. Simonyan, A. Zisserman, 2014) and of Keras' mode "caffe": ImageNet's means of 0..255, in BGR order.
UNSCALED = (
    ("caffe", Preprocessing("BGR", divide_by=1.0, mean=(103.939, 116.779, 123.68))),
    ("0..255", Preprocessing("RGB", divide_by=1.0)),
    ("0..255", Preprocessing("L", divide_by=1.0)),
)

# The name of the normalization by the samples' mean and standard deviation.
OWN = "samples' statistics"

# Five grey levels: statistics this close to those of a known candidate are an estimate of the same.
NEAR = 0.02


@dataclass(frozen=True)
class Candidate:
    """One way to preprocess images.

    Attributes:
        names: its names, from rows of the tables and differences from them; several if they are equivalent.
        inverted: whether the network gets 255 - x. A Preprocessing has no such step, so this can be reported but not
            exported.
    """

    names: tuple[str, ...]
    preprocessing: Preprocessing
    inverted: bool = False

    @property
    def geometry(self) -> Geometry:
        return self.preprocessing.resize, self.preprocessing.crop

    def with_suffix(self, suffix: str) -> Candidate:
        """Return the same candidate with ``suffix`` added to its names."""
        return replace(self, names=tuple(f"{name} {suffix}" for name in self.names))

    def also_named(self, names: Sequence[str]) -> Candidate:
        """Return the same candidate with further ``names``."""
        return replace(self, names=(*self.names, *names))


def squashed(size: Size) -> Geometry:
    """Resize both sides to ``size`` (height, width), whatever the proportions of the image."""
    return size, None


def cropped(size: Size) -> Geometry:
    """Resize in proportion, then crop the centre of ``size`` (height, width), as the preset imagenet does."""
    usual = preset("imagenet", size, 3)
    return usual.resize, usual.crop


def own_statistics(pixels: NDArray[np.uint8]) -> Preprocessing | None:
    """Return the normalization by mean and standard deviation of the ``pixels`` themselves, channel by channel.

    Args:
        pixels: (images, height, width, channels), RGB or L.

    Returns:
        the normalization without a geometry; None if a channel has only one value.
    """
    channels = pixels.shape[3]
    counts = sum(
        np.stack([np.bincount(image[:, :, channel].ravel(), minlength=256) for channel in range(channels)])
        for image in pixels
    )
    shares = counts / np.sum(counts, axis=1, keepdims=True)
    values = np.arange(256) / 255
    mean = shares @ values
    std = np.sqrt((shares * (values - mean[:, np.newaxis]) ** 2).sum(axis=1))
    if not std.all():
        return None
    order: Channels = "L" if channels == 1 else "RGB"
    return Preprocessing(order, mean=_rounded(mean), std=_rounded(np.maximum(std, 1e-4)))


def candidates(size: Size, channels: int, own: Preprocessing | None, *, distorted: bool) -> list[Candidate]:
    """Return the candidates for a network that takes ``channels`` planes of ``size`` (height, width).

    They are in the order of the tables, from common to less common: presets first, each in its own geometry and order
    of channels before others.

    Args:
        own: normalization by the statistics of the samples, None if there is none.
        distorted: whether squashing changes the proportions of any sample, so that every candidate is tried both
            cropped and squashed. Otherwise only imagenet is, whose crop cuts an eighth off square images too.

    Raises:
        PreprocessingError: images cannot be preprocessed to that many channels.
    """
    return [
        variant
        for row in _rows(size, channels, own)
        for geometry in _geometries(row, size, distorted=distorted)
        for variant in (_inverted(geometry) if channels == 1 else _orders(geometry))
    ]


def _rows(size: Size, channels: int, own: Preprocessing | None) -> list[Candidate]:
    preset("plain", size, channels)  # raises if no preset fits
    presets = [(name, make(size, channels)) for name, (make, _) in PRESETS.items()]
    others = [(name, replace(scaling, resize=size)) for name, scaling in UNSCALED]
    rows = [
        Candidate((name,), preprocessing)
        for name, preprocessing in presets + others
        if preprocessing.channel_count == channels
    ]
    if own is None:
        return rows
    near = [_is_near(row.preprocessing, own) for row in rows]
    if True not in near:
        return [*rows, Candidate((OWN,), replace(own, resize=size))]
    first = near.index(True)
    rows[first] = rows[first].also_named([OWN])
    return rows


def _is_near(candidate: Preprocessing, own: Preprocessing) -> bool:
    if candidate.divide_by != own.divide_by or not (candidate.mean and candidate.std and own.mean and own.std):
        return False
    return bool(np.allclose([candidate.mean, candidate.std], [own.mean, own.std], rtol=0, atol=NEAR))


def _geometries(row: Candidate, size: Size, *, distorted: bool) -> Iterator[Candidate]:
    yield row
    if row.geometry == cropped(size):
        yield _with_geometry(row, squashed(size), "squashed")
    elif distorted:
        yield _with_geometry(row, cropped(size), "cropped")


def _with_geometry(row: Candidate, geometry: Geometry, name: str) -> Candidate:
    resize, crop = geometry
    return replace(row.with_suffix(name), preprocessing=replace(row.preprocessing, resize=resize, crop=crop))


def _orders(row: Candidate) -> Iterator[Candidate]:
    """Both orders of the channels, each channel with its own mean and standard deviation."""
    yield row
    usual = row.preprocessing
    order: Channels = "RGB" if usual.channels == "BGR" else "BGR"
    mean, std = (None if values is None else values[::-1] for values in (usual.mean, usual.std))
    yield replace(row.with_suffix(order), preprocessing=replace(usual, channels=order, mean=mean, std=std))


def _inverted(row: Candidate) -> Iterator[Candidate]:
    yield row
    yield replace(row.with_suffix("inverted"), inverted=True)


def _rounded(values: NDArray[np.float64]) -> tuple[float, ...]:
    """Round to four decimals, as usual for such statistics."""
    return tuple(round(float(value), 4) for value in values)
