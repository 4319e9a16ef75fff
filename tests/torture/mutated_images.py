"""Small images of every format that Pillow writes, changed at random."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

from fork_server import Answer, ForkServer
from mutations import changed
from PIL import Image

from vgg_runtime.imaging.decode import read_image

__all__ = ["make_originals", "mutated_images", "read"]

Image.init()  # all formats, before the fork

# 100 million are the default, and take 400 MB. With a tenth of them the limit of memory shows whether it is kept.
_MAX_PIXELS = 10_000_000

_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "F")

_PICTURE = Image.merge(
    "RGB", [Image.linear_gradient("L"), Image.radial_gradient("L"), Image.linear_gradient("L").rotate(90)]
).resize((24, 16))

_ANIMATED = {"save_all": True, "append_images": [_PICTURE.rotate(180)]}
_TURNED = Image.Exif()
_TURNED[0x0112] = 6
_OPTIONS: dict[str, list[dict[str, Any]]] = {
    "AVIF": [_ANIMATED],
    "BLP": [{"blp_version": "BLP1"}],
    "DDS": [{"pixel_format": name} for name in ("DXT1", "DXT3", "DXT5", "BC2", "BC3", "BC5")],
    "GIF": [_ANIMATED],
    "JPEG": [{"progressive": True}, {"exif": _TURNED}],
    "JPEG2000": [{"no_jp2": True}, {"irreversible": True, "quality_layers": [20]}],
    "PNG": [_ANIMATED, {"bits": 2}],
    "SGI": [{"rle": True}],
    "TGA": [{"compression": "tga_rle"}],
    "TIFF": [{"compression": name} for name in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "group4")],
    "WEBP": [_ANIMATED, {"lossless": True}],
}


def read(path: Path) -> None:
    """What preprocessing calls."""
    read_image(path, max_pixels=_MAX_PIXELS)


def mutated_images(server: ForkServer, folder: Path, count: int, seed: int) -> Iterator[tuple[str, Answer]]:
    """Read ``count`` changed images."""
    originals = list(make_originals().items())
    path = folder / "image"
    for number in range(count):
        name, original = originals[number % len(originals)]
        path.write_bytes(_mutated(original, Random(f"{seed} {number}")))  # noqa: S311 - repeatable
        yield f"{name} {number}", server.call("read", path)


def make_originals() -> dict[str, bytes]:
    """Images in every format, mode and compression that Pillow writes and reads, as "PNG RGB 0"."""
    originals = {}
    for format_ in sorted(Image.SAVE.keys() & Image.OPEN.keys()):
        for mode in _MODES:
            for number, options in enumerate([{}, *_OPTIONS.get(format_, [])]):
                file = io.BytesIO()
                # The format has no such mode, or the mode no such compression or second frame.
                with suppress(OSError, ValueError, KeyError, RuntimeError):
                    _PICTURE.convert(mode).save(file, format_, **options)
                    originals[f"{format_} {mode} {number}"] = file.getvalue()
    return originals


def _mutated(content: bytes, random: Random) -> bytes:
    for _ in range(random.randint(1, 3)):
        content = changed(content, random)
    return _with_right_crcs(content) if random.random() < 0.8 else content


_PNG = b"\x89PNG\r\n\x1a\n"


def _with_right_crcs(content: bytes) -> bytes:
    """A PNG whose chunks have right checksums, so that their contents are looked at; other files as they are."""
    if not content.startswith(_PNG):
        return content
    chunks, rest = [_PNG], content[len(_PNG) :]
    while len(rest) >= 12:
        (length,) = struct.unpack(">I", rest[:4])
        body = rest[4 : 8 + length]
        chunks += [rest[:4], body, struct.pack(">I", zlib.crc32(body))]
        rest = rest[12 + length :]
    return b"".join(chunks) + rest
