from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vgg_export.planning.image_split import ImageSelection
from vgg_export.verification.samples import Samples, pink_noise_samples, real_samples
from vgg_runtime.bundle.manifest import InputSpec
from vgg_runtime.errors import ImageError, PreprocessingError
from vgg_runtime.imaging.decode import read_image
from vgg_runtime.imaging.folders import find_images
from vgg_runtime.imaging.preprocessing import Preprocessing

SIZE = (24, 32)


def input_spec(preprocessing: Preprocessing, size: tuple[int, int] = SIZE) -> InputSpec:
    return InputSpec(("batch", preprocessing.channel_count, *size))


def read(folder: Path, preprocessing: Preprocessing, size: tuple[int, int] = SIZE) -> Samples:
    return real_samples(
        ImageSelection(folder, tuple(find_images([folder]))), preprocessing, input_spec(preprocessing, size)
    )


@pytest.mark.parametrize(
    "preprocessing",
    [
        Preprocessing(),
        Preprocessing("L", resize=SIZE),
        Preprocessing(resize=24),  # the shorter side; the longer follows from the image
        Preprocessing(resize=28, crop=SIZE),
        Preprocessing(crop=SIZE),
    ],
)
def test_noise_ends_in_the_size_of_the_network(preprocessing: Preprocessing) -> None:
    samples = pink_noise_samples(preprocessing, input_spec(preprocessing), seed=0)
    assert samples.planes(range(5)).shape == (len(samples.names), preprocessing.channel_count, *SIZE)
    assert not samples.real


def test_noise_is_the_same_for_the_same_seed_only() -> None:
    first, again, other = (
        pink_noise_samples(Preprocessing(), input_spec(Preprocessing()), seed=seed) for seed in (1, 1, 2)
    )
    assert first.files == again.files
    assert not np.array_equal(first.pixels, other.pixels)


def test_noise_power_falls_with_the_squared_frequency() -> None:
    file = pink_noise_samples(Preprocessing(), input_spec(Preprocessing(), (256, 256)), seed=0).files[0]
    plane = np.asarray(read_image(file), np.float64)[:, :, 0]
    power = np.abs(np.fft.fft2(plane)) ** 2
    radius = np.hypot(*np.meshgrid(np.fft.fftfreq(256), np.fft.fftfreq(256)))
    low, high = (power[(radius >= r) & (radius < 1.25 * r)].mean() for r in (0.02, 0.16))
    assert np.log2(low / high) == pytest.approx(6, abs=0.6)  # three octaves at two per octave; white noise gives 0


def test_real_images_keep_their_names_and_pixels(tmp_path: Path) -> None:
    (tmp_path / "cats").mkdir()
    pixels = np.arange(24 * 32 * 3).reshape(24, 32, 3).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "cats" / "tom.png")
    samples = read(tmp_path, Preprocessing(divide_by=1.0))
    assert samples.names == ("cats/tom.png",)
    assert samples.real
    np.testing.assert_array_equal(samples.planes([0])[0], pixels.transpose(2, 0, 1))


def test_one_file_stands_for_a_folder(example) -> None:
    file = example.images / "bag" / "00018.png"
    assert read(file, Preprocessing("L"), (28, 28)).names == ("00018.png",)  # not the path on this machine


def test_a_name_that_is_not_utf8_is_made_legible(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/caf\xe9.png"
    try:
        Image.new("RGB", (32, 24)).save(os.fsdecode(path))
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    assert read(tmp_path, Preprocessing()).names == ("caf\ufffd.png",)


def test_samples_of_another_size_are_refused_by_name(tmp_path: Path) -> None:
    Image.new("RGB", (32, 24)).save(tmp_path / "fits.png")
    Image.new("RGB", (40, 24)).save(tmp_path / "wide.png")
    with pytest.raises(PreprocessingError, match=r"wide.png has 40 x 24 pixels .* takes 32 x 24"):
        read(tmp_path, Preprocessing(resize=24))


def test_a_broken_image_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(ImageError, match=r"broken\.png"):
        read(tmp_path, Preprocessing())


def test_variants_get_planes_or_pixels(tmp_path: Path) -> None:
    pixels = np.arange(24 * 32 * 3).reshape(24, 32, 3).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    preprocessing = Preprocessing("BGR", mean=(0.1, 0.2, 0.3))
    selection = ImageSelection(tmp_path, (tmp_path / "x.png",))
    planes = real_samples(selection, preprocessing, input_spec(preprocessing))
    np.testing.assert_array_equal(planes.inputs([0]), planes.planes([0]))
    pixel_samples = real_samples(selection, preprocessing, input_spec(preprocessing).as_pixels())
    np.testing.assert_array_equal(pixel_samples.inputs([0]), pixels[np.newaxis, :, :, ::-1])
    np.testing.assert_array_equal(pixel_samples.planes([0]), planes.planes([0]))


def test_samples_are_held_as_pixels_not_as_float32(tmp_path: Path) -> None:
    Image.new("RGB", (32, 24)).save(tmp_path / "x.png")
    samples = read(tmp_path, Preprocessing())
    arrays = [value for value in vars(samples).values() if isinstance(value, np.ndarray)]
    assert [(array.dtype, array.shape) for array in arrays] == [(np.uint8, (1, *SIZE, 3))]
    assert samples.files == (tmp_path / "x.png",)
    assert samples.encoded(0) == (tmp_path / "x.png").read_bytes()
