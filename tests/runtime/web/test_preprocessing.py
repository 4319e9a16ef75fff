"""Preprocessing in JavaScript, compared with Preprocessing bit by bit."""

from __future__ import annotations

import base64
from dataclasses import asdict, fields
from typing import Any

import numpy as np
import PIL
import pytest
from PIL import Image

from vgg_runtime.imaging.preprocessing import Preprocessing
from vgg_runtime.imaging.presets import preset

PREPARE = """
const { completePreprocessing, normalize, preparePixels } = await import("./vgg_runtime/preprocessing.js");
const [height, width] = input.image.shape;
const steps = completePreprocessing(input.steps);
const pixels = preparePixels({ width, height, data: input.image }, input.orientation, steps, input.pillow);
return { shape: [pixels.height, pixels.width], pixels: pixels.data, planes: normalize(pixels, steps) };
"""

CASES = {
    "nothing": Preprocessing(),
    "imagenet": preset("imagenet", (48, 48), 3),
    "half": preset("half", (32, 40), 3),
    "mnist": preset("mnist", (28, 28), 1),
    "shorter side, crop larger than the image": Preprocessing(resize=20, crop=(31, 64)),
    "luma": Preprocessing("L"),
    "crop at halves that round up": Preprocessing(crop=(30, 44)),
    "crop at halves that round down": Preprocessing(crop=(32, 46)),
    "crop that pads one axis": Preprocessing("BGR", crop=(80, 40)),
    "pixels 0 to 255, BGR means": Preprocessing("BGR", resize=33, divide_by=1, mean=(103.939, 116.779, 123.68)),
    "bicubic luma": Preprocessing("L", resize=(19, 23), interpolation="bicubic", mean=(0.5,), std=(0.25,)),
    "permutation": Preprocessing(
        resize=(6, 8), permutation=tuple(map(int, np.random.default_rng(0).permutation(48))), std=(0.1, 0.2, 0.3)
    ),
}


def photo(width: int = 75, height: int = 61) -> Image.Image:
    pixels = np.random.default_rng(1).integers(0, 256, (height, width, 4), dtype=np.uint8)
    return Image.fromarray(pixels)


def in_javascript(run_node, image: Image.Image, steps: dict[str, Any], orientation: int = 1) -> tuple[np.ndarray, ...]:
    """Pixels (height, width, channels) and planes (channels, height, width)."""
    pillow = int(PIL.__version__.partition(".")[0])
    job = {"image": np.asarray(image), "steps": steps, "orientation": orientation, "pillow": pillow}
    result = run_node(PREPARE, job)
    pixels, planes = (base64.b64decode(result[name]) for name in ("pixels", "planes"))
    height, width = result["shape"]
    return (
        np.frombuffer(pixels, np.uint8).reshape(height, width, -1),
        np.frombuffer(planes, np.float32).reshape(-1, height, width),
    )


@pytest.mark.parametrize("name", CASES)
def test_preprocessing_in_javascript_equals_python(run_node, name: str) -> None:
    preprocessing = CASES[name]
    pixels, planes = in_javascript(run_node, photo(), asdict(preprocessing))
    np.testing.assert_array_equal(pixels, preprocessing.pixels(photo()))
    np.testing.assert_array_equal(planes, preprocessing(photo()))


@pytest.mark.parametrize("orientation", range(10))
def test_orientation_in_javascript_equals_python(run_node, orientation: int) -> None:
    image = photo()
    image.getexif()[0x0112] = orientation
    preprocessing = Preprocessing(exif_orientation=True)
    pixels, _ = in_javascript(run_node, image, asdict(preprocessing), orientation)
    np.testing.assert_array_equal(pixels, preprocessing.pixels(image))


def test_orientation_is_ignored_unless_asked_for(run_node) -> None:
    pixels, _ = in_javascript(run_node, photo(), asdict(Preprocessing()), orientation=6)
    np.testing.assert_array_equal(pixels, Preprocessing().pixels(photo()))


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ({"sharpen": 2}, "preprocessing has unknown steps: sharpen."),
        ({"interpolation": "mitchell"}, "unknown interpolation: mitchell."),
        ({"channels": "YUV"}, "unknown channels: YUV."),
    ],
)
def test_steps_that_javascript_lacks_are_refused(run_node, steps: dict[str, Any], message: str) -> None:
    body = """
    const { completePreprocessing } = await import("./vgg_runtime/preprocessing.js");
    try { return completePreprocessing(input); } catch (error) { return [error.name, error.message]; }
    """
    assert run_node(body, steps) == ["BundleError", message]


def test_javascript_has_the_steps_and_defaults_of_python(run_node) -> None:
    defaults = run_node('return (await import("./vgg_runtime/preprocessing.js")).completePreprocessing({})', None)
    assert defaults == {field.name: field.default for field in fields(Preprocessing)}
