"""Decoding images from any source: a path, bytes, an open file, a Pillow image, an array."""

from __future__ import annotations

import io
import logging
import os
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, ForwardRef, Literal, TypeAlias, get_args

from vgg_runtime._internal.lazy_numpy import Image, NDArray, np
from vgg_runtime._internal.signal_errors import reraise_from_signal_handler
from vgg_runtime.errors import ImageError, UsageError

if TYPE_CHECKING:
    ImageSource: TypeAlias = str | os.PathLike[str] | bytes | IO[bytes] | Image.Image | NDArray[Any]
else:
    # The same, but numpy and Pillow are not imported until somebody asks for the type hints.
    ImageSource = ForwardRef("str | os.PathLike[str] | bytes | IO[bytes] | Image.Image | NDArray[Any]", module=__name__)

__all__ = ["MAX_PIXELS", "ChannelOrder", "ImageSource", "image_name", "read_image"]


logger = logging.getLogger(__name__)
logger.addHandler(logging.NullHandler())  # quiet, unless the application or vgg-run adds a handler

# The order of the colours in a uint8 array; OpenCV's is BGR.
ChannelOrder = Literal["RGB", "BGR"]

# A 100-megapixel photograph takes 300 MB once decoded; larger files are more often an attack than a photograph.
MAX_PIXELS = 100_000_000

_HIGH_DEPTH_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")

# 16 bits per pixel with 5, 6 and 5 bits per channel, as in BMP.
_PACKED_RAW_MODES = ("RGB;16", "BGR;16")

# Pillow decodes these by starting a program (Ghostscript).
_FORMATS_THAT_RUN_PROGRAMS = ("EPS",)

# Photographs from phones, followed by a preview or depth map, which do not count as animations.
_FORMAT_OF_PHONES = "MPO"


def read_image(source: ImageSource, *, max_pixels: int = MAX_PIXELS, channels: ChannelOrder = "RGB") -> Image.Image:
    """Return the decoded image, in its own mode; of an animated image the first frame, with a log message.

    Only one thread at a time may use a file object or a Pillow image, because reading changes it.

    Args:
        source: a path, the bytes of an image file, a binary file object (read from its beginning), a Pillow image, or
            a uint8 array of shape (height, width) or (height, width, 1, 3 or 4).
        max_pixels: larger images are refused before they are decoded. Beyond 178 million, Pillow's own
            ``PIL.Image.MAX_IMAGE_PIXELS`` has to be raised too.
        channels: order of the colours in a uint8 array; "BGR" is for the frames of OpenCV (with alpha: BGRA). All
            other sources state their order themselves.

    Raises:
        ImageError: the image is unreadable, truncated, empty, too large, or has more than 8 bits per channel.
        UsageError: ``channels`` is "BGR" and ``source`` is not a uint8 array (height, width, 3 or 4).
    """
    _check_channels(source, channels)
    if isinstance(source, np.ndarray):
        return _from_array(source, max_pixels, channels)
    name = image_name(source)
    try:
        if not isinstance(source, str | os.PathLike):
            return _decode(source, name, max_pixels)
        if os.path.isfile(source):
            if not Path(source).stat().st_size:
                raise ImageError(f"{name} is empty (0 bytes).")
        elif os.path.exists(source) and not os.path.isdir(source):
            # Opening a pipe waits for a writer, forever if there is none.
            raise ImageError(
                f"{name} is not a regular file.", hint="Read a pipe or a device yourself, and pass the bytes."
            )
        # Closed here, because Pillow leaves files open if it refuses the image, or if there are more frames.
        with _ImageFile(io.FileIO(source)) as file:
            return _decode(file, name, max_pixels)
    except ImageError:
        raise
    except Exception as error:  # Pillow's decoders raise almost any exception on a broken file
        reraise_from_signal_handler(error)
        raise _refusal(name, error) from error


class _ImageFile(io.BufferedReader):
    """A file that is asked for no more bytes than it has: Python would allocate whatever a chunk claims to have."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > 0:
            size = min(size, os.fstat(self.fileno()).st_size)
        return super().read(size)


def _refusal(name: str, error: Exception) -> ImageError:
    from PIL import UnidentifiedImageError

    match error:
        case UnidentifiedImageError():
            return ImageError(f"{name} is not in an image format that Pillow reads.")
        case FileNotFoundError():
            return ImageError(f"there is no file {name}.")
        case IsADirectoryError():
            return ImageError(f"{name} is a folder, not an image.")
        case MemoryError():
            return ImageError(f"{name} does not fit into memory.")
        case Image.DecompressionBombError():
            return ImageError(
                f"{name} has more pixels than Pillow opens: {str(error).removesuffix('.')}.",
                hint="Shrink it first, or raise PIL.Image.MAX_IMAGE_PIXELS besides max_pixels.",
            )
        case _:
            return ImageError(f"{name} cannot be decoded: {error or type(error).__name__}.")


def image_name(source: ImageSource) -> str:
    """Return what to call ``source`` in messages and results."""
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    name = getattr(source, "filename", None) or getattr(source, "name", None)
    return name if isinstance(name, str) else "the image"


def _decode(source: bytes | IO[bytes] | Image.Image, name: str, max_pixels: int) -> Image.Image:
    image = _open(source, name)
    if not image.width * image.height:
        raise ImageError(f"{name} has {image.width} x {image.height} pixels.")
    _refuse_too_large(name, image.width, image.height, max_pixels)
    if image.format in _FORMATS_THAT_RUN_PROGRAMS:
        raise ImageError(
            f"{name} is {image.format}, which is not accepted because decoding it runs an external program."
        )
    _refuse_high_depth(image, name)
    # For a Pillow image the caller has already chosen the frame.
    if not isinstance(source, Image.Image) and image.format != _FORMAT_OF_PHONES and _has_more_frames(image):
        logger.warning("%s has several frames; the first one is used.", name)
    image.load()
    return image


def _refuse_too_large(name: str, width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise ImageError(
            f"{name} has {width} x {height} pixels, more than the limit of {max_pixels:,}.",
            hint="Shrink it first, or raise the limit (max_pixels).",
        )


def _has_more_frames(image: Image.Image) -> bool:
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception as error:  # a second frame of a GIF is broken, but only the first is needed
        reraise_from_signal_handler(error)
        image.seek(0)
        return False


def _open(source: bytes | IO[bytes] | Image.Image, name: str) -> Image.Image:
    if isinstance(source, Image.Image):
        return source
    if isinstance(source, bytes | bytearray | memoryview):
        if not source:
            raise ImageError(f"{name} is empty (0 bytes).")
        return Image.open(io.BytesIO(source))
    if not hasattr(source, "read"):
        raise ImageError(
            f"{type(source).__name__} is not an image.",
            hint="Pass a path, bytes, a file object, a Pillow image or a uint8 array.",
        )
    return Image.open(source)


def _check_channels(source: ImageSource, channels: ChannelOrder) -> None:
    if channels not in get_args(ChannelOrder):
        raise UsageError(f"`channels` must be 'RGB' or 'BGR', got {channels!r}.")
    if channels == "RGB":
        return
    if isinstance(source, np.ndarray) and source.dtype == np.uint8 and source.shape[2:] in ((3,), (4,)):
        return
    kind = f"{source.dtype} {list(source.shape)}" if isinstance(source, np.ndarray) else type(source).__name__
    raise UsageError(
        f"`channels='BGR'` applies to uint8 arrays (height, width, 3 or 4), got {kind}.",
        hint="Omit `channels`: image files and Pillow images state the order of their colours.",
    )


def _from_array(array: NDArray[Any], max_pixels: int, channels: ChannelOrder) -> Image.Image:
    if array.dtype != np.uint8:
        raise ImageError(
            f"the array has dtype {array.dtype}; an image is uint8.",
            hint="Scale it to 0..255; an image that is already preprocessed is float32 (channels, height, width).",
        )
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)) or 0 in array.shape:
        raise ImageError(
            f"the array has shape {array.shape}; an image is (height, width) or (height, width, 1, 3 or 4)."
        )
    _refuse_too_large("the array", array.shape[1], array.shape[0], max_pixels)
    if channels == "BGR":
        mode = "RGB" if array.shape[2] == 3 else "RGBA"
        # Pillow swaps the colours while copying; copying an array with its last axis reversed takes six times as long.
        pixels, size = np.ascontiguousarray(array), (array.shape[1], array.shape[0])
        return Image.frombuffer(mode, size, pixels, "raw", mode.replace("RGB", "BGR"), 0, 1)
    return Image.fromarray(array[:, :, 0] if array.shape[2:] == (1,) else array)


def _refuse_high_depth(image: Image.Image, name: str) -> None:
    # Pillow silently reads 16-bit colour as 8-bit; only the tiles of the file show it.
    tiles = getattr(image, "tile", None) or []
    if image.mode in _HIGH_DEPTH_MODES or any(_has_high_depth(tile[0], tile[3]) for tile in tiles):
        raise ImageError(
            f"{name} has more than 8 bits per channel (mode {image.mode}); 8-bit images are accepted.",
            hint="Convert it to 8 bits per channel first; the right scaling depends on your data.",
        )


def _has_high_depth(decoder: str, arguments: Any) -> bool:
    """Whether a tile has more than 8 bits, by its raw mode (PNG, TIFF) or its maximum value (PPM)."""
    parts = arguments if isinstance(arguments, tuple) else (arguments,)
    if decoder.startswith("ppm"):
        return any(isinstance(part, int) and part > 255 for part in parts)
    return any(";16" in part and part not in _PACKED_RAW_MODES for part in parts if isinstance(part, str))
