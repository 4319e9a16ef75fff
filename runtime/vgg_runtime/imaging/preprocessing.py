"""From a decoded image to the float32 planes that a network was trained on, implemented once.

The arithmetic follows torchvision's PIL pipeline (Resize, CenterCrop, ToTensor, Normalize) to the bit, so that the
build machine, calibration and the edge device see the same pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

from vgg_runtime._internal.lazy_numpy import Image, NDArray, np
from vgg_runtime._internal.signal_errors import reraise_from_signal_handler
from vgg_runtime._internal.validation import counted
from vgg_runtime.errors import ImageError
from vgg_runtime.imaging.decode import MAX_PIXELS

__all__ = ["Channels", "Interpolation", "Preprocessing"]

Channels = Literal["RGB", "BGR", "L"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]

MAX_SIDE = 10_000


@dataclass(frozen=True)
class Preprocessing:
    """What training did to an image, in this order: orient, convert, resize, crop, permute, scale, normalize.

    Attributes:
        channels: the planes of the result, in order; "L" is one plane of luma (ITU-R 601-2, as Pillow computes it).
        resize: pixels of the shorter side, or (height, width); None leaves the size alone.
        interpolation: name of Pillow's filter, which antialiases when it shrinks.
        crop: (height, width) of the centre crop after resizing, padded with zeros if the image is smaller.
        divide_by: divisor of the 8-bit values: 255 (torchvision's ToTensor) or 1 (networks that take 0..255).
        mean: subtracted after that, one value per channel in the order of ``channels``; None for nothing.
        std: last divisor, one value per channel; None for none.
        exif_orientation: rotate the image as its EXIF tag says, which torchvision's loader does not do.
        permutation: pixel i of each plane, counted row by row, becomes the image's pixel permutation[i], as
            ``images.view(n, c, -1)[:, :, permutation].view(n, c, h, w)`` does; None leaves the pixels in place.

    Examples:
        >>> from PIL import Image
        >>> from vgg_runtime import Preprocessing
        >>> preprocessing = Preprocessing("L", resize=(28, 28), mean=(0.286,), std=(0.353,))
        >>> preprocessing(Image.open("coat.png")).shape
        (1, 28, 28)
    """

    channels: Channels = "RGB"
    resize: int | tuple[int, int] | None = None
    interpolation: Interpolation = "bilinear"
    crop: tuple[int, int] | None = None
    divide_by: float = 255.0
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    exif_orientation: bool = False
    permutation: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        sizes = [self.resize] if isinstance(self.resize, int) else [*(self.resize or ()), *(self.crop or ())]
        if any(not 1 <= size <= MAX_SIDE for size in sizes):
            raise ValueError(f"sizes must be 1 to {MAX_SIDE:,} pixels, got {sizes}")
        for name, value, accepted in (
            ("channels", self.channels, get_args(Channels)),
            ("interpolation", self.interpolation, get_args(Interpolation)),
        ):
            if value not in accepted:
                raise ValueError(f"{name} must be one of {', '.join(accepted)}, got {value!r}")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and len(values) != self.channel_count:
                channels = counted(self.channel_count, "channel")
                raise ValueError(f"{name} has {counted(len(values), 'value')}, {self.channels} has {channels}")
        if not all(0 < value < math.inf for value in (self.divide_by, *(self.std or ()))):
            raise ValueError("divide_by and std must be finite and > 0")
        if not all(map(math.isfinite, self.mean or ())):
            raise ValueError("mean must be finite")
        if self.permutation is not None:
            self._check_permutation(self.permutation)

    def _check_permutation(self, permutation: tuple[int, ...]) -> None:
        count = len(permutation)
        if not count or sorted(permutation) != list(range(count)):
            raise ValueError(f"permutation has {count} entries, but not each of 0 to {count - 1} exactly once")
        if self.output_size is not None and math.prod(self.output_size) != count:
            height, width = self.output_size
            raise ValueError(f"permutation has {count} entries; {height} x {width} are {height * width} pixels")

    @property
    def channel_count(self) -> int:
        return len(self.channels)

    @property
    def output_size(self) -> tuple[int, int] | None:
        """(height, width) of the result, or None if it depends on the image."""
        if self.crop is not None:
            return self.crop
        return self.resize if isinstance(self.resize, tuple) else None

    def __call__(self, image: Image.Image) -> NDArray[np.float32]:
        """Return ``image`` as float32 (channels, height, width).

        Raises:
            ImageError: resizing its shorter side would make more than ``MAX_PIXELS``, or the permutation is for another
                number of pixels.
        """
        return self.normalize(self.pixels(image))

    def pixels(self, image: Image.Image) -> NDArray[np.uint8]:
        """Return the image after all steps before scaling, as uint8 (height, width, channels).

        Raises:
            ImageError: as above, or Pillow cannot convert or resize this image.
        """
        try:
            return self._pixels(image)
        except ImageError:
            raise
        except Exception as error:  # Pillow raises almost anything on broken EXIF data and unusual modes
            reraise_from_signal_handler(error)
            raise ImageError(f"the image cannot be preprocessed: {error or type(error).__name__}.") from error

    def _pixels(self, image: Image.Image) -> NDArray[np.uint8]:
        if self.exif_orientation:
            image = _oriented(image)
        if isinstance(image.info.get("transparency"), bytes):
            # The alpha of a palette: converting to RGB drops it anyway, but would warn about it.
            image = image.copy()
            del image.info["transparency"]
        mode = "L" if self.channels == "L" else "RGB"
        image = image if image.mode == mode else image.convert(mode)  # converting would copy
        image = _center_crop(_resize(image, self.resize, self.interpolation), self.crop)
        array = np.asarray(image)
        if self._order is not None:
            array = _permute(array, self._order)
        if self.channels == "L":
            return array[:, :, np.newaxis]
        return array[:, :, ::-1] if self.channels == "BGR" else array

    def normalize(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return uint8 (height, width, channels) scaled and normalized, as float32 (channels, height, width).

        There is one rounding per step, as in three tensor operations; folding them into ``x * a + b`` would change
        bits.
        """
        planes: NDArray[np.float32] = np.array(np.moveaxis(pixels, 2, 0), dtype=np.float32, order="C")
        planes /= np.float32(self.divide_by)
        if self._mean is not None:
            planes -= self._mean
        if self._std is not None:
            planes /= self._std
        return planes

    @cached_property
    def _order(self) -> NDArray[np.intp] | None:
        return None if self.permutation is None else np.array(self.permutation, dtype=np.intp)

    @cached_property
    def _mean(self) -> NDArray[np.float32] | None:
        return _per_channel(self.mean)

    @cached_property
    def _std(self) -> NDArray[np.float32] | None:
        return _per_channel(self.std)


def _per_channel(values: tuple[float, ...] | None) -> NDArray[np.float32] | None:
    return None if values is None else np.array(values, dtype=np.float32)[:, np.newaxis, np.newaxis]


def _oriented(image: Image.Image) -> Image.Image:
    """Rotate the image as its tag says. Pillow's exif_transpose also rewrites the tags, and fails on many files."""
    from PIL.ExifTags import Base

    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    turn = turns.get(image.getexif().get(Base.Orientation, 1))
    return image if turn is None else image.transpose(turn)


def _resize(image: Image.Image, size: int | tuple[int, int] | None, interpolation: Interpolation) -> Image.Image:
    if size is None:
        return image
    width, height = image.size
    if isinstance(size, tuple):
        height, width = size
    elif width <= height:
        width, height = size, int(size * height / width)
    else:
        width, height = int(size * width / height), size
    if (width, height) == image.size:
        return image
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"the image has {image.width} x {image.height} pixels; resizing it for the network makes "
            f"{width} x {height}, more than the limit of {MAX_PIXELS:,}.",
            hint="Crop it first.",
        )
    return image.resize((width, height), Image.Resampling[interpolation.upper()])


def _center_crop(image: Image.Image, size: tuple[int, int] | None) -> Image.Image:
    """Crop as torchvision's CenterCrop does: pad with zeros first, then cut at the offset rounded half to even."""
    if size is None or (image.height, image.width) == size:
        return image
    height, width = size
    if height > image.height or width > image.width:
        left, top = max(width - image.width, 0) // 2, max(height - image.height, 0) // 2
        right, bottom = math.ceil(max(width - image.width, 0) / 2), math.ceil(max(height - image.height, 0) / 2)
        # Pillow's crop fills the area outside the image with zeros.
        image = image.crop((-left, -top, image.width + right, image.height + bottom))
    top, left = round((image.height - height) / 2.0), round((image.width - width) / 2.0)
    return image.crop((left, top, left + width, top + height))


def _permute(pixels: NDArray[np.uint8], order: NDArray[np.intp]) -> NDArray[np.uint8]:
    """Reorder the pixels of (height, width, ...): while they are bytes, and with all channels of a pixel at once."""
    height, width = pixels.shape[:2]
    if height * width != len(order):
        raise ImageError(
            f"the image has {width} x {height} pixels; the permutation takes {len(order)}.",
            hint="Resize or crop it to that many: set resize or crop along with the permutation.",
        )
    return pixels.reshape(height * width, -1)[order].reshape(pixels.shape)
