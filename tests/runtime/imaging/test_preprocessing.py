from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from vgg_runtime.errors import ImageError
from vgg_runtime.imaging.decode import read_image
from vgg_runtime.imaging.preprocessing import Preprocessing

GRADIENT = Image.fromarray(np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3))


def test_normalization_rounds_once_per_step() -> None:
    steps = Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    pixels = np.asarray(GRADIENT).astype(np.float32)
    mean, std = np.array(steps.mean, np.float32), np.array(steps.std, np.float32)
    expected = (pixels / np.float32(255) - mean) / std
    np.testing.assert_array_equal(steps(GRADIENT), expected.transpose(2, 0, 1))


def test_bgr_turns_the_planes_round_and_mean_follows_that_order() -> None:
    planes = Preprocessing("BGR", divide_by=1, mean=(1.0, 2.0, 3.0))(Image.new("RGB", (1, 1), (10, 20, 30)))
    assert planes.ravel().tolist() == [29, 18, 7]


def test_luma_is_one_plane() -> None:
    planes = Preprocessing("L", divide_by=1)(Image.new("RGB", (2, 3), (255, 0, 0)))
    assert planes.tolist() == [[[76, 76]] * 3]  # 0.299 * 255, ITU-R 601-2


def test_larger_crop_is_padded_right_and_below_first() -> None:
    planes = Preprocessing("L", crop=(2, 4), divide_by=255)(Image.new("L", (1, 1), 255))
    assert planes.tolist() == [[[0, 1, 0, 0], [0, 0, 0, 0]]]


@pytest.mark.parametrize(("oriented", "shape"), [(False, (3, 4, 6)), (True, (3, 6, 4))])
def test_exif_orientation_is_applied_only_where_training_did(oriented: bool, shape: tuple[int, ...]) -> None:
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6  # turned by a quarter
    GRADIENT.save(file, "PNG", exif=exif)
    assert Preprocessing(exif_orientation=oriented)(Image.open(file)).shape == shape


def test_palette_alpha_is_dropped_on_a_copy() -> None:
    file = io.BytesIO()
    palette = Image.new("P", (2, 2))
    palette.putpalette([10, 20, 30])
    palette.save(file, "PNG", transparency=b"\x80")
    image = Image.open(file)
    assert Preprocessing(divide_by=1)(image)[:, 0, 0].tolist() == [10, 20, 30]
    assert image.info["transparency"] == b"\x80"


def test_a_permutation_takes_pixels_from_where_it_points() -> None:
    permutation = (5, 0, 1, 2, 3, 4)
    planes = Preprocessing("BGR", crop=(2, 3), divide_by=1, permutation=permutation)(GRADIENT)
    plain = Preprocessing("BGR", crop=(2, 3), divide_by=1)(GRADIENT)
    np.testing.assert_array_equal(planes, plain.reshape(3, 6)[:, permutation].reshape(3, 2, 3))


def test_permutation_of_another_size_is_refused() -> None:
    with pytest.raises(ImageError, match=r"6 x 4 pixels; the permutation takes 2") as refused:
        Preprocessing(permutation=(1, 0))(GRADIENT)
    assert "resize" in refused.value.hint


def test_a_long_thin_image_is_refused_before_it_is_resized() -> None:
    with pytest.raises(ImageError, match=r"20000 x 1 pixels; resizing.*5120000 x 256"):
        Preprocessing(resize=256)(Image.new("RGB", (20_000, 1)))


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({}, None),
        ({"resize": 256}, None),
        ({"resize": (3, 4)}, (3, 4)),
        ({"resize": 256, "crop": (5, 6)}, (5, 6)),
        ({"resize": (3, 4), "crop": (5, 6)}, (5, 6)),
    ],
)
def test_output_size_is_none_where_the_image_decides(fields: dict[str, Any], size: tuple[int, int] | None) -> None:
    assert Preprocessing(**fields).output_size == size


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"resize": 0}, "sizes must be 1 to"),
        ({"resize": (4, -1)}, "sizes must be 1 to"),
        ({"crop": (0, 4)}, "sizes must be 1 to"),
        ({"crop": (10**9, 4)}, "sizes must be 1 to"),
        ({"mean": (0.5,)}, "mean has 1 value, RGB has 3 channels"),
        ({"channels": "L", "std": (1, 1, 1)}, "std has 3 values, L has 1 channel"),
        ({"std": (1.0, 0.0, 1.0)}, "finite and > 0"),
        ({"divide_by": 0}, "finite and > 0"),
        ({"divide_by": math.inf}, "finite"),
        ({"std": (1.0, math.nan, 1.0)}, "finite"),
        ({"mean": (1.0, math.nan, 1.0)}, "mean must be finite"),
        ({"permutation": ()}, "has 0 entries"),
        ({"permutation": (0, 1, 1)}, "3 entries, but not each of 0 to 2 exactly once"),
        ({"permutation": (1, 2, 3)}, "not each of 0 to 2"),
        ({"permutation": (1, 0), "crop": (2, 2)}, "2 entries; 2 x 2 are 4 pixels"),
        ({"channels": "HSV"}, "channels must be one of RGB, BGR, L, got 'HSV'"),
        ({"interpolation": "area"}, "interpolation must be one of nearest(.*), got 'area'"),
    ],
)
def test_what_cannot_be_is_refused_when_it_is_described(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Preprocessing(**fields)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_turned_as_pillow_itself_would(orientation: int) -> None:
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)).save(file, "PNG", exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(file)))
    turned = Preprocessing(exif_orientation=True).pixels(Image.open(file))
    np.testing.assert_array_equal(turned, expected)


def test_an_orientation_that_there_is_none_of_turns_nothing() -> None:
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = 9
    GRADIENT.save(file, "PNG", exif=exif)
    np.testing.assert_array_equal(Preprocessing(exif_orientation=True).pixels(Image.open(file)), np.asarray(GRADIENT))


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # of tags that it skips
def test_broken_exif_turns_nothing_or_is_an_image_error() -> None:
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112], exif[0x0131] = 6, "software"
    Image.new("RGB", (8, 6)).save(file, "JPEG", exif=exif)
    content, steps = file.getvalue(), Preprocessing(exif_orientation=True)
    start, generator, refused = content.index(b"Exif"), np.random.default_rng(0), 0
    for _ in range(500):
        damaged = bytearray(content)
        damaged[start + 6 + int(generator.integers(60))] = int(generator.integers(256))
        try:
            assert steps.pixels(read_image(bytes(damaged))).shape in ((6, 8, 3), (8, 6, 3))
        except ImageError:
            refused += 1
    assert refused < 500


def test_a_mode_that_pillow_cannot_convert_is_an_image_error() -> None:
    with pytest.raises(ImageError, match="the image cannot be preprocessed: "):
        Preprocessing().pixels(Image.new("La", (3, 2)))
