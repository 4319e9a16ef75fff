from __future__ import annotations

import io
import os
import struct
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vgg_runtime.errors import ImageError, UsageError
from vgg_runtime.imaging.decode import image_name, read_image
from vgg_runtime.imaging.folders import find_images

PIXELS = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)


def encoded(image: Image.Image, format_: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def png(*, width: int, height: int, depth: int = 8, colour: int = 2, rows: bytes = b"") -> bytes:
    """A PNG as its header describes it, with any rows at all."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def tiff_16_bit_rgb() -> bytes:
    """An uncompressed 1 x 1 TIFF of 16 bits per channel, which Pillow reads but does not write."""
    entries = [(256, 3, 1, 1), (257, 3, 1, 1), (258, 3, 3, 200), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 210)]
    entries += [(277, 3, 1, 3), (278, 3, 1, 1), (279, 4, 1, 6)]
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    start = (b"II*\0" + struct.pack("<I", 8) + directory + bytes(4)).ljust(200, b"\0")
    return start + struct.pack("<HHH", 16, 16, 16).ljust(10, b"\0") + struct.pack("<HHH", 1000, 2000, 3000)


def bmp_565() -> bytes:
    """A 1 x 1 BMP of 5, 6 and 5 bits, all red: 16 bits per pixel, 8 or fewer per channel."""
    header = struct.pack("<IiiHHIIiiII", 40, 1, 1, 1, 16, 3, 4, 0, 0, 0, 0)
    masks = struct.pack("<III", 0xF800, 0x07E0, 0x001F)
    return b"BM" + struct.pack("<IHHI", 70, 0, 0, 66) + header + masks + struct.pack("<HH", 0xF800, 0)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    path.write_bytes(encoded(Image.fromarray(PIXELS)))
    return path


@pytest.mark.parametrize(
    "source",
    [
        str,
        Path,
        lambda path: path.read_bytes(),
        lambda path: bytearray(path.read_bytes()),
        lambda path: memoryview(path.read_bytes()),
        lambda path: io.BytesIO(path.read_bytes()),
        lambda path: Image.open(io.BytesIO(path.read_bytes())),
        lambda path: PIXELS,
        lambda path: np.repeat(PIXELS, 2, axis=0)[::2],
    ],
    ids=["str", "Path", "bytes", "bytearray", "memoryview", "file", "Pillow", "array", "strided array"],
)
def test_every_kind_of_source_gives_the_same_pixels(photo: Path, source: Callable[[Path], Any]) -> None:
    np.testing.assert_array_equal(np.asarray(read_image(source(photo))), PIXELS)


@pytest.mark.parametrize(("shape", "mode"), [((4, 5), "L"), ((4, 5, 3), "RGB"), ((4, 5, 4), "RGBA"), ((4, 5, 1), "L")])
def test_arrays_have_one_three_or_four_channels(shape: tuple[int, ...], mode: str) -> None:
    assert read_image(np.zeros(shape, np.uint8)).mode == mode


@pytest.mark.parametrize("order", [(2, 1, 0), (2, 1, 0, 3)], ids=["BGR", "BGRA"])
def test_bgr_arrays_have_their_colours_swapped(order: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, len(order)), dtype=np.uint8)
    for array in (pixels[:, :, order], np.ascontiguousarray(pixels[:, :, order])):
        np.testing.assert_array_equal(np.asarray(read_image(array, channels="BGR")), pixels)


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("photo.png", "str"),
        (b"photo", "bytes"),
        (Image.new("RGB", (2, 2)), "Image"),
        (np.zeros((4, 5), np.uint8), r"uint8 \[4, 5\]"),
        (np.zeros((4, 5, 1), np.uint8), r"uint8 \[4, 5, 1\]"),
        (np.zeros((4, 5, 3), np.float32), r"float32 \[4, 5, 3\]"),
    ],
)
def test_bgr_of_anything_but_colour_arrays_is_refused(source: Any, kind: str) -> None:
    with pytest.raises(UsageError, match=rf"`channels='BGR'` applies to uint8 arrays .*, got {kind}\."):
        read_image(source, channels="BGR")


def test_an_unknown_order_of_channels_is_refused() -> None:
    with pytest.raises(UsageError, match="`channels` must be 'RGB' or 'BGR', got 'bgr'"):
        read_image(np.zeros((4, 5, 3), np.uint8), channels="bgr")  # type: ignore[arg-type]


def test_the_limit_of_pixels_is_for_arrays_too() -> None:
    assert read_image(np.zeros((4, 5), np.uint8), max_pixels=20).size == (5, 4)
    with pytest.raises(ImageError, match="the array has 5 x 4 pixels, more than the limit of 19"):
        read_image(np.zeros((4, 5), np.uint8), max_pixels=19)


def test_one_path_is_a_folder_or_a_file_too(tmp_path: Path) -> None:
    Image.new("RGB", (3, 2)).save(tmp_path / "a.png")
    assert find_images(tmp_path) == find_images(str(tmp_path)) == find_images([tmp_path]) == [tmp_path / "a.png"]
    assert find_images(str(tmp_path / "a.png")) == [tmp_path / "a.png"]
    assert find_images("x" * 300) == [Path("x" * 300)]  # for whoever reads it to refuse


@pytest.mark.parametrize("shape", [(4,), (4, 5, 2), (3, 4, 5), (1, 4, 5, 3), (0, 5), (4, 0, 3)])
def test_arrays_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match="the array has shape"):
        read_image(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.uint16, np.bool_])
def test_arrays_of_another_dtype_are_refused(dtype: type) -> None:
    with pytest.raises(ImageError, match="the array has dtype"):
        read_image(np.zeros((4, 5, 3), dtype))


def test_a_file_object_is_read_from_its_beginning_and_left_open(photo: Path) -> None:
    with photo.open("rb") as file:
        file.seek(20)
        np.testing.assert_array_equal(np.asarray(read_image(file)), PIXELS)
        assert not file.closed


def test_animation_gives_its_first_frame_and_is_closed(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (5, 4), colour) for colour in ("red", "green", "blue")]
    for name in ("a.gif", "a.tiff", "a.webp"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], lossless=True)
        image = read_image(tmp_path / name)
        assert image.convert("RGB").getpixel((0, 0)) == (255, 0, 0)
        del image  # an open file would warn here


def animation(format_: str, **options: Any) -> bytes:
    frames = [Image.new("RGB", (5, 4), colour) for colour in ("red", "green", "blue")]
    return encoded(frames[0], format_, save_all=True, append_images=frames[1:], **options)


@pytest.mark.parametrize("format_", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_log_tells_of_an_animation_by_name(format_: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "moving").write_bytes(animation(format_))
    read_image(tmp_path / "moving")
    assert caplog.messages == [f"{tmp_path / 'moving'} has several frames; the first one is used."]
    assert caplog.records[0].name == "vgg_runtime.imaging.decode"


@pytest.mark.parametrize("content", [animation("MPO"), encoded(Image.fromarray(PIXELS), "GIF")], ids=["MPO", "GIF"])
def test_the_log_tells_of_nothing_else(content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    read_image(content)
    read_image(Image.open(io.BytesIO(animation("GIF"))))
    assert caplog.messages == []


def test_an_animation_that_is_cut_off_has_its_first_frame() -> None:
    whole = animation("GIF")
    second = whole.index(b",", whole.index(b",") + 1)  # where the second frame's description begins
    for length in (second, second + 1, second + 5, second + 9):
        assert read_image(whole[:length]).convert("RGB").getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (b"hello, this is text\n" * 50, "is not in an image format"),
        (b"\xff\xd8\xff", "is not in an image format"),
        (encoded(Image.fromarray(np.tile(PIXELS, (20, 20, 1))), "JPEG")[:3000], "cannot be decoded"),
        (encoded(Image.fromarray(PIXELS))[:80], "cannot be decoded"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n", "runs an external program"),
        (png(width=1, height=1, depth=16, rows=bytes(7)), "more than 8 bits per channel"),
        (png(width=1, height=1, depth=16, colour=0, rows=bytes(3)), "more than 8 bits per channel"),
        (encoded(Image.fromarray(PIXELS[:, :, 0].astype(np.uint16)), "TIFF"), "more than 8 bits per channel"),
        (encoded(Image.fromarray(PIXELS[:, :, 0].astype(np.float32)), "TIFF"), "more than 8 bits per channel"),
        (tiff_16_bit_rgb(), "more than 8 bits per channel"),
        (b"P6\n1 1\n65535\n" + bytes(6), "more than 8 bits per channel"),
    ],
    ids=[
        "empty",
        "text",
        "start of a JPEG",
        "truncated JPEG",
        "truncated PNG",
        "EPS",
        "16-bit PNG",
        "16-bit grey PNG",
        "16-bit grey TIFF",
        "float TIFF",
        "16-bit TIFF",
        "16-bit PPM",
    ],
)
def test_an_unreadable_file_is_refused_by_name(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "broken.jpg"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=rf"broken\.jpg.*{message}"):
        read_image(path)
    with pytest.raises(ImageError, match=rf"the image.*{message}"):
        read_image(content)


def test_16_bits_per_pixel_are_not_16_per_channel() -> None:
    assert read_image(bmp_565()).getpixel((0, 0)) == (255, 0, 0)


def test_the_16_bit_tiff_is_one_that_pillow_would_read_as_8_bit() -> None:
    assert Image.open(io.BytesIO(tiff_16_bit_rgb())).convert("RGB").mode == "RGB"


@pytest.mark.parametrize(
    ("path", "message"), [("none.jpg", "there is no file"), (".", "is a folder"), ("a\0b", "null byte")]
)
def test_a_path_that_is_no_file_is_refused(tmp_path: Path, path: str, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        read_image(tmp_path / path)


@pytest.mark.parametrize("source", [None, 3, ["a.jpg"], Image])
def test_what_is_no_image_at_all_is_refused(source: Any) -> None:
    with pytest.raises(ImageError, match="is not an image"):
        read_image(source)


def test_a_text_file_object_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello" * 10)
    with (tmp_path / "a.txt").open() as file, pytest.raises(ImageError):
        read_image(file)  # type: ignore[arg-type]


def test_an_image_without_pixels_is_refused() -> None:
    with pytest.raises(ImageError, match="has 0 x 5 pixels"):
        read_image(Image.new("RGB", (0, 5)))


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    bomb = png(width=9_000, height=9_000, rows=b"no rows at all")
    with pytest.raises(ImageError, match=r"9000 x 9000 pixels, more than the limit of 1,000"):
        read_image(bomb, max_pixels=1_000)


def test_a_bomb_beyond_pillows_own_limit_is_refused() -> None:
    with pytest.raises(ImageError, match="more pixels than Pillow opens") as refused:
        read_image(png(width=60_000, height=60_000), max_pixels=10**10)
    assert "PIL.Image.MAX_IMAGE_PIXELS" in refused.value.hint


def test_a_chunk_that_claims_gigabytes_allocates_none(photo: Path) -> None:
    content = bytearray(photo.read_bytes())
    at = content.index(b"IDAT") - 4
    content[at : at + 4] = b"\x7f\xff\xff\xff"
    photo.write_bytes(content)
    tracemalloc.start()
    try:
        np.testing.assert_array_equal(np.asarray(read_image(photo)), PIXELS)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_the_limit_counts_pixels(photo: Path) -> None:
    read_image(photo, max_pixels=63)
    with pytest.raises(ImageError, match="7 x 9 pixels, more than the limit of 62"):
        read_image(photo, max_pixels=62)


@pytest.mark.parametrize("name", ["new\nline.png", "blank \t.png", "ünïcødé.png", "-dash.png"])
def test_odd_names_are_names(photo: Path, name: str) -> None:
    odd = photo.rename(photo.with_name(name))
    np.testing.assert_array_equal(np.asarray(read_image(odd)), PIXELS)
    assert image_name(odd) == str(odd)


def test_a_name_is_taken_from_what_has_one(photo: Path) -> None:
    with photo.open("rb") as file, Image.open(photo) as image:
        assert [image_name(source) for source in (str(photo), file, image)] == [str(photo)] * 3
    assert [image_name(source) for source in (b"", io.BytesIO(), PIXELS)] == ["the image"] * 3


def test_folders_give_sorted_images_and_files_stay(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.jpg", "sub/c.webp", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.jpg").mkdir()
    expected = [tmp_path / "notes.txt", Path("none.jpg"), *(tmp_path / name for name in ("a.jpg", "b.PNG"))]
    assert find_images([tmp_path / "notes.txt", "none.jpg", tmp_path]) == [*expected, tmp_path / "sub" / "c.webp"]


def test_links_are_followed_and_each_folder_read_once(tmp_path: Path) -> None:
    for name in ("photos/cats/a.jpg", "elsewhere/b.jpg"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    for name, target in (("dogs", "elsewhere"), ("again", "photos"), ("kittens", "photos/cats"), ("gone", "nowhere")):
        (tmp_path / "photos" / name).symlink_to(tmp_path / target, target_is_directory=True)
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "photos", target_is_directory=True)
    assert find_images([tmp_path / "photos"]) == [tmp_path / "photos" / name for name in ("cats/a.jpg", "dogs/b.jpg")]


def test_hidden_files_are_skipped_unless_named(tmp_path: Path) -> None:
    for name in (".photos/a.jpg", ".photos/._a.jpg", ".photos/.thumbnails/a.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    hidden = tmp_path / ".photos"
    assert find_images([hidden, hidden / "._a.jpg"]) == [hidden / "a.jpg", hidden / "._a.jpg"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no named pipes of this kind")
def test_a_pipe_that_is_named_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match=r"pipe\.png is not a regular file"):
        read_image(tmp_path / "pipe.png")


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ImageError, match="contains no images"):
        find_images([tmp_path])


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no named pipes of this kind")
def test_a_pipe_is_read_to_its_end(photo: Path, tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, photo.read_bytes())
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        np.testing.assert_array_equal(np.asarray(read_image(pipe)), PIXELS)
