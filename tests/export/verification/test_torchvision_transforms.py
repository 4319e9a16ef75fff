"""The reference for end-to-end parity is torchvision's own pipeline; the runtime's pixels equal it to the bit."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from vgg_export.verification.end_to_end import torchvision_preprocess
from vgg_runtime.imaging.decode import read_image
from vgg_runtime.imaging.preprocessing import Preprocessing
from vgg_runtime.imaging.presets import PRESETS, preset


def encoded(mode: str, size: tuple[int, int]) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 4), np.uint8)
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.fromarray(pixels).convert(mode).save(file, "PNG", exif=exif)
    return file.getvalue()


CASES = {name: preset(name, (40, 40), 1 if name == "mnist" else 3) for name in PRESETS} | {
    "BGR 0..255": Preprocessing("BGR", resize=(30, 50), divide_by=1.0, mean=(104, 117, 123)),
    "crop larger than the image": Preprocessing(resize=20, crop=(33, 61)),
    "turned by EXIF": Preprocessing("L", resize=24, exif_orientation=True),
    "permuted": Preprocessing(resize=(4, 6), std=(0.2, 0.3, 0.4), permutation=tuple(range(23, -1, -1))),
    "bicubic": Preprocessing(resize=33, crop=(32, 32), interpolation="bicubic", std=(0.2, 0.3, 0.4)),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA"])
def test_the_runtime_makes_the_same_pixels(case: str, mode: str) -> None:
    file = encoded(mode, (57, 83))
    np.testing.assert_array_equal(CASES[case](read_image(file)), torchvision_preprocess(CASES[case], file))


def test_it_is_the_pipeline_that_lessons_write() -> None:
    from vgg_models._torchvision import import_torchvision

    transforms, file = import_torchvision().transforms, encoded("RGB", (300, 400))
    lesson = transforms.Compose(
        [
            transforms.Resize(256),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    expected = lesson(Image.open(io.BytesIO(file)).convert("RGB")).numpy()
    np.testing.assert_array_equal(torchvision_preprocess(preset("imagenet", (224, 224), 3), file), expected)
