"""The same preprocessing by torchvision's own transforms: the reference for end-to-end parity."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING

import numpy as np

from vgg_runtime.preprocessing import Preprocessing

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["torchvision_preprocess"]


def torchvision_preprocess(preprocessing: Preprocessing, file: bytes) -> NDArray[np.float32]:
    """Return the image in ``file`` as torchvision's PIL pipeline makes it: float32 (channels, height, width)."""
    from PIL import Image, ImageOps

    from vgg_models.torchvision_import import import_torchvision

    transforms = import_torchvision().transforms
    functional, mode = transforms.functional, transforms.InterpolationMode[preprocessing.interpolation.upper()]
    image: Image.Image = Image.open(io.BytesIO(file))
    if preprocessing.exif_orientation:
        image = ImageOps.exif_transpose(image)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Palette images with Transparency", UserWarning)  # it is dropped in any case
        image = image.convert("L" if preprocessing.channels == "L" else "RGB")
    if preprocessing.resize is not None:
        size = preprocessing.resize
        image = functional.resize(image, size if isinstance(size, int) else list(size), interpolation=mode)
    if preprocessing.crop is not None:
        image = functional.center_crop(image, list(preprocessing.crop))
    if preprocessing.divide_by == 255:
        tensor = functional.to_tensor(image)
    else:
        tensor = functional.pil_to_tensor(image).float() / preprocessing.divide_by
    if preprocessing.channels == "BGR":
        tensor = tensor.flip(0)
    zeros, ones = (0.0,) * preprocessing.channel_count, (1.0,) * preprocessing.channel_count
    tensor = functional.normalize(tensor, preprocessing.mean or zeros, preprocessing.std or ones)
    if preprocessing.permutation is not None:
        tensor = tensor.flatten(1)[:, list(preprocessing.permutation)].view_as(tensor)
    result: NDArray[np.float32] = tensor.numpy()
    return result
