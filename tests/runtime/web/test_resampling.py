"""Resizing in JavaScript, compared with Pillow pixel by pixel."""

from __future__ import annotations

import base64
from typing import get_args

import numpy as np
import PIL
import pytest
from PIL import Image

from vgg_runtime.imaging.preprocessing import Interpolation

PILLOW = int(PIL.__version__.partition(".")[0])

# (width, height) from and to: smaller, larger, one axis alone, a tall one, a wide one, single pixels, odd ratios.
SIZES = [
    ((28, 28), (224, 224)),
    ((256, 256), (28, 28)),
    ((70, 50), (28, 28)),
    ((50, 70), (50, 28)),
    ((50, 70), (28, 70)),
    ((20, 300), (17, 31)),
    ((300, 20), (31, 17)),
    ((30, 200), (45, 60)),
    ((1, 1), (5, 3)),
    ((5, 3), (1, 1)),
    ((401, 299), (97, 83)),
    ((97, 83), (401, 299)),
    ((640, 481), (341, 256)),
]

RESIZE = """
const { resize } = await import("./vgg_runtime/resampling.js");
return input.images.map(({ image, size, filter }) => {
  const [height, width] = image.shape;
  return resize({ width, height, data: image }, ...size, filter, input.pillow).data;
});
"""


def image_of(size: tuple[int, int], channels: int) -> np.ndarray:
    """Noise, and areas of extreme values, at whose edges filters overshoot."""
    width, height = size
    rng = np.random.default_rng(width * height)
    pixels = rng.integers(0, 256, (height, width, channels), dtype=np.uint8)
    pixels[: height // 3] = rng.choice([0, 255], (height // 3, width, 1))
    return pixels


def as_pillow(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def differing(actual: str, expected: Image.Image) -> int:
    return int(np.sum(np.frombuffer(base64.b64decode(actual), np.uint8) != np.asarray(expected).ravel()))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("interpolation", get_args(Interpolation))
def test_resize_in_javascript_equals_pillow(run_node, interpolation: str, channels: int) -> None:
    images = [image_of(size, channels) for size, _ in SIZES]
    jobs = [{"image": image, "size": to, "filter": interpolation} for image, (_, to) in zip(images, SIZES, strict=True)]
    resized = run_node(RESIZE, {"images": jobs, "pillow": PILLOW})
    resample = Image.Resampling[interpolation.upper()]
    expected = [as_pillow(image).resize(to, resample) for image, (_, to) in zip(images, SIZES, strict=True)]
    assert [differing(*pair) for pair in zip(resized, expected, strict=True)] == [0] * len(SIZES)


def test_resize_does_width_first_as_pillow_12_did(run_node) -> None:
    image = image_of((20, 300), 3)
    (resized,) = run_node(RESIZE, {"images": [{"image": image, "size": (17, 31), "filter": "bicubic"}], "pillow": 12})
    width_first = as_pillow(image).resize((17, 300), Image.Resampling.BICUBIC)
    assert differing(resized, width_first.resize((17, 31), Image.Resampling.BICUBIC)) == 0
    if PILLOW >= 13:
        assert differing(resized, as_pillow(image).resize((17, 31), Image.Resampling.BICUBIC)) > 0


def test_javascript_knows_every_filter(run_node) -> None:
    names = run_node('return (await import("./vgg_runtime/resampling.js")).INTERPOLATIONS', None)
    assert sorted(names) == sorted(get_args(Interpolation))
