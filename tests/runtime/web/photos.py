"""Photographs in the formats that other decoders than Pillow read, and what Pillow reads in them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from vgg_runtime.imaging.decode import read_image
from vgg_runtime.imaging.preprocessing import Preprocessing

__all__ = ["as_pillow_decodes", "write_photos"]


def write_photos(folder: Path) -> None:
    """One picture in the formats, modes and orientations that browsers, sharp and Pillow decode."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    smooth = Image.fromarray(rng.integers(0, 256, (9, 11, 4), dtype=np.uint8)).resize(
        (173, 131), Image.Resampling.BICUBIC
    )
    photo = Image.fromarray(np.asarray(smooth)[:, :, :3])  # alpha would be multiplied into it
    translucent = Image.fromarray(rng.integers(0, 256, (31, 23, 4), dtype=np.uint8))
    translucent.save(folder / "rgba.png")
    translucent.convert("LA").save(folder / "la.png")
    translucent.save(folder / "rgba.webp", lossless=True, exact=True)
    for name in ("rgb.png", "rgb.bmp", "q95.jpg", "q60.jpg", "lossless.webp", "lossy.webp"):
        quality = {"q95.jpg": {"quality": 95, "subsampling": 0}, "q60.jpg": {"quality": 60}}
        photo.save(folder / name, **quality.get(name, {"lossless": "lossless" in name}))
    for name, mode in (("l.png", "L"), ("1.png", "1"), ("p.png", "P"), ("l.jpg", "L")):
        photo.convert(mode).save(folder / name)
    photo.quantize(50).save(folder / "transparent.png", transparency=7)
    photo.save(folder / "progressive.jpg", progressive=True)
    photo.save(folder / "profile.png", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes())
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        for suffix in ("jpg", "png", "webp"):
            photo.save(folder / f"turned{orientation}.{suffix}", exif=exif, lossless=True)


def as_pillow_decodes(file: Path) -> list[Any]:
    """Return [width, height, EXIF orientation, SHA-256 of the RGB pixels as a list of its bytes]."""
    image = read_image(file)
    rgb = Preprocessing().pixels(image)
    return [*image.size, image.getexif().get(0x0112, 1), list(hashlib.sha256(rgb.tobytes()).digest())]
