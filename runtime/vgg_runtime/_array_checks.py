"""Checks of arrays that callers preprocessed themselves, against the input in the manifest."""

from __future__ import annotations

from vgg_runtime._internal.lazy_numpy import NDArray, np
from vgg_runtime.bundle.manifest import InputArray, InputSpec
from vgg_runtime.errors import ImageError

__all__ = ["check_batch", "check_image", "check_planes"]


def check_planes(planes: NDArray[np.float32], expected: InputSpec) -> NDArray[np.float32]:
    """Return ``planes``, one preprocessed image with or without the batch, as (channels, height, width).

    Raises:
        ImageError: the shape is wrong, a value is not finite, or the model takes uint8 pixels.
    """
    if expected.takes_pixels:
        raise ImageError(
            f"the array is float32 {list(planes.shape)}; this model takes uint8 pixels and scales them itself.",
            hint="Give the image: a path, bytes, or a uint8 array (height, width, channels).",
        )
    shape = expected.image_shape
    if planes.shape not in (shape, (1, *shape)):
        raise ImageError(
            f"the array is float32 {list(planes.shape)}; preprocessed planes are float32 {list(shape)}.",
            hint="An image is uint8 (height, width, channels).",
        )
    if not np.isfinite(planes).all():
        raise ImageError("the array has values that are not finite (NaN or infinity).")
    return planes.reshape(shape)


def check_image(image: InputArray, expected: InputSpec) -> None:
    """Check one image without the batch dimension.

    Raises:
        ImageError: the dtype, rank or size is wrong, or a value is not finite.
    """
    if isinstance(image, np.ndarray) and image.ndim == 4:
        raise ImageError(f"expected one image {list(expected.image_shape)}, got a batch {list(image.shape)}.")
    check_batch(image, expected)


def check_batch(batch: InputArray, expected: InputSpec) -> None:
    """Check a batch, or one image without the batch dimension.

    Raises:
        ImageError: the dtype, rank, size or number of images is wrong, or a value is not finite.
    """
    accepted = f"{expected.dtype} {list(expected.shape)} in {expected.layout} order, or one image without the batch"
    if not isinstance(batch, np.ndarray) or batch.dtype != expected.dtype:
        kind = f"{batch.dtype} {list(batch.shape)}" if isinstance(batch, np.ndarray) else type(batch).__name__
        raise ImageError(f"the batch is {kind}; the network takes {accepted}.")
    if batch.shape != expected.image_shape:
        shape = (batch.shape[0], *expected.image_shape) if batch.ndim == 4 else None
        if batch.shape != shape or len(batch) != (expected.batch_size or max(len(batch), 1)):
            raise ImageError(f"the batch has shape {list(batch.shape)}; the network takes {accepted}.")
    if not np.isfinite(batch).all():
        raise ImageError("the batch has values that are not finite (NaN or infinity).")
