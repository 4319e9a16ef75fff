"""The size of feature maps along a row of layers, by arithmetic alone."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

__all__ = ["feature_size"]

Size = tuple[int, int]


def feature_size(layers: Iterable[nn.Module], size: Size) -> Size:
    """Return (height, width) of the feature maps that reach the first Linear; (0, 0) where the images are too small.

    Args:
        layers: convolutions, max pools that do not overlap, and what leaves the size as it is.
        size: (height, width) of the images.
    """
    for layer in layers:
        if isinstance(layer, nn.Linear):
            break
        size = _after(layer, size)
        if min(size) < 1:
            return (0, 0)
    return size


def _after(layer: nn.Module, size: Size) -> Size:
    height, width = size
    if isinstance(layer, nn.Conv2d):
        pads = [2 * padding if isinstance(padding, int) else 0 for padding in layer.padding]
        return (
            (height + pads[0] - layer.kernel_size[0]) // layer.stride[0] + 1,
            (width + pads[1] - layer.kernel_size[1]) // layer.stride[1] + 1,
        )
    if isinstance(layer, nn.MaxPool2d):
        return height // 2, width // 2
    return (1, 1) if isinstance(layer, nn.AdaptiveAvgPool2d) else size
