"""The runtime's preprocessing gives the very bits of torchvision's PIL pipeline."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vgg_models._torchvision import import_torchvision
from vgg_runtime.imaging.preprocessing import Preprocessing

import_torchvision()
from torchvision.transforms import v2  # noqa: E402, TID251 - needs the line above
from torchvision.transforms.functional import InterpolationMode, normalize, to_tensor  # noqa: E402, TID251

MODES = {"L": 1, "RGB": 3, "RGBA": 4, "P": 1, "CMYK": 4, "LA": 2}


@st.composite
def images(draw: st.DrawFn) -> Image.Image:
    mode = draw(st.sampled_from([*MODES, "1"]))
    width, height = draw(st.integers(1, 300)), draw(st.integers(1, 300))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    row = (width + 7) // 8 if mode == "1" else width * MODES[mode]
    image = Image.frombytes(mode, (width, height), generator.bytes(row * height))
    if mode == "P":
        image.putpalette(generator.bytes(768))
    return image


@st.composite
def pipelines(draw: st.DrawFn) -> Preprocessing:
    channels = draw(st.sampled_from(["RGB", "BGR", "L"]))
    side, value = st.integers(1, 48), st.floats(0.0078125, 4, width=32)
    filters = [mode.value for mode in InterpolationMode if mode.value != "nearest-exact"]  # no filter of Pillow's
    values = st.none() | st.tuples(*[value] * len(channels))
    return Preprocessing(
        channels,
        resize=draw(st.none() | side | st.tuples(side, side)),
        interpolation=draw(st.sampled_from(filters)),
        crop=draw(st.none() | st.tuples(st.integers(1, 330), st.integers(1, 330)) | st.tuples(side, side)),
        divide_by=draw(st.sampled_from([255.0, 1.0, 127.5, 256.0])),
        mean=draw(values),
        std=draw(values),
    )


def torchvision_pipeline(image: Image.Image, steps: Preprocessing) -> torch.Tensor:
    image = image.convert("L" if steps.channels == "L" else "RGB")
    if steps.resize is not None:
        size: Any = steps.resize if isinstance(steps.resize, int) else list(steps.resize)
        image = v2.Resize(size, InterpolationMode(steps.interpolation))(image)
    if steps.crop is not None:
        image = v2.CenterCrop(steps.crop)(image)
    planes = to_tensor(image) if steps.divide_by == 255 else v2.PILToTensor()(image).float() / steps.divide_by
    if steps.channels == "BGR":
        planes = planes.flip(0)
    none = [0.0] * len(planes), [1.0] * len(planes)
    return normalize(planes, steps.mean or none[0], steps.std or none[1])


@settings(max_examples=200)
@given(images(), pipelines())
def test_the_pixels_are_the_training_pixels(image: Image.Image, steps: Preprocessing) -> None:
    expected = torchvision_pipeline(image, steps).numpy()
    actual = steps(image)
    assert actual.dtype == expected.dtype
    # Bits, not values: -0.0 is not 0.0.
    np.testing.assert_array_equal(actual.view(np.uint32), np.ascontiguousarray(expected).view(np.uint32))


@settings(max_examples=30)
@given(images(), st.integers(64, 400))
def test_enlarging_gives_the_training_pixels_too(image: Image.Image, side: int) -> None:
    image = image.crop((0, 0, min(image.width, 40), min(image.height, 40)))
    steps = Preprocessing(resize=(side, side + 1), crop=(64, 64))
    np.testing.assert_array_equal(steps(image), torchvision_pipeline(image, steps).numpy())
