"""The size of the images that a network was trained on, from the width of its first Linear layer."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from math import isqrt

from torch import nn

__all__ = ["COMMON_SIZES", "InputSizeCandidate", "Size", "feature_size", "reachable_sizes", "read_input_size"]


# Square sizes that tutorials and published models train at, in pixels.
COMMON_SIZES = (28, 32, 48, 64, 96, 128, 224, 256, 299, 384)

FeatureMapSize = Callable[[tuple[int, int]], tuple[int, int]]


@dataclass(frozen=True)
class InputSizeCandidate:
    """One possible step from the feature map to the first Linear layer.

    Attributes:
        input_size: (height, width); None if ``question`` asks for it.
        pooled_size: (height, width) of an adaptive average pool; None if there is none.
    """

    input_size: tuple[int, int] | None
    pooled_size: tuple[int, int] | None = None
    assumption: str = ""
    question: str = ""
    chosen_by: str = ""


def read_input_size(
    feature_map_size: FeatureMapSize, positions: int, stated: tuple[int, int] | None
) -> list[InputSizeCandidate]:
    """Return the sizes that fit; several if the checkpoint leaves a choice, none if nothing fits.

    Args:
        feature_map_size: maps (height, width) of the images to that of the feature map, (0, 0) if they are too small.
        positions: height times width of the feature map that the first Linear layer takes.
        given: (height, width) from the user.
    """
    side = isqrt(positions)
    square = (side, side) if side * side == positions else None
    if stated is not None:
        return _with_given_size(feature_map_size(stated), positions, square, stated)
    if square is None:
        return [InputSizeCandidate(None, question=f"feature maps of {positions} positions are not square{_ask()}")]
    fitting = [size for size in COMMON_SIZES if feature_map_size((size, size)) == square]
    if side == 1:
        return _one_by_one(fitting)
    if len(fitting) == 1:
        return [_assumed(fitting[0], side)]
    return [InputSizeCandidate(None, question=f"feature maps of {side}x{side} {_say_fitting(fitting)}{_ask()}")]


def _with_given_size(
    size: tuple[int, int], positions: int, square: tuple[int, int] | None, stated: tuple[int, int]
) -> list[InputSizeCandidate]:
    if min(size) > 0 and size[0] * size[1] == positions:
        return [InputSizeCandidate(stated)]
    if min(size) == 0 or square is None:
        return []
    return [
        InputSizeCandidate(
            stated,
            pooled_size=square,
            assumption=f"images of {stated[0]}x{stated[1]} give feature maps of {size[0]}x{size[1]}, the classifier "
            f"takes {square[0]}x{square[1]}: an AdaptiveAvgPool2d lies between, as in torchvision",
        )
    ]


def _assumed(size: int, side: int) -> InputSizeCandidate:
    return InputSizeCandidate(
        (size, size),
        assumption=f"the images are {size}x{size}: of the common sizes the only one with feature maps of {side}x{side}",
    )


def _one_by_one(fitting: list[int]) -> list[InputSizeCandidate]:
    """Features of 1x1 come from small images, or from the mean of feature maps, for images of any size."""
    small = [
        InputSizeCandidate(
            (size, size),
            assumption=f"the images are {size}x{size}, and the feature maps come out at 1x1",
            chosen_by=f"`input_size={size}`" + " (or `preprocess='cifar10'`)" * (size == 32),
        )
        for size in fitting
    ]
    pooled = InputSizeCandidate(
        None,
        pooled_size=(1, 1),
        question=f"global average pooling takes images of any size{_ask()}",
        chosen_by="`input_size=N`, the size that you trained at, if it is larger",
    )
    return [*small, pooled]


def _say_fitting(fitting: list[int]) -> str:
    if not fitting:
        return "come from none of the common sizes"
    return f"come from images of {' or '.join(map(str, fitting))} pixels"


def _ask() -> str:
    return "; give the size that you trained at: `input_size=N` or `input_size=(H, W)`"


Size = tuple[int, int]


def feature_size(layers: Iterable[nn.Module], size: Size) -> Size:
    """Return (height, width) of the feature maps that reach the first Linear; (0, 0) if the images are too small.

    Args:
        layers: convolutions, max pools that do not overlap, and layers that keep the size.
        size: (height, width) of the images.
    """
    for layer in layers:
        if isinstance(layer, nn.Linear):
            break
        size = _after(layer, size)
        if min(size) < 1:
            return (0, 0)
    return size


def reachable_sizes(steps: Sequence[Sequence[nn.Module]], size: Size, endings: Collection[int]) -> set[Size]:
    """Return the possible sizes of feature maps after the steps, some of which may begin with one more pool.

    There are few, however many combinations there are: each step starts from the possible sizes of the one before.

    Args:
        steps: layers as for feature_size.
        size: (height, width) of the images.
        endings: the positions of the steps that may begin with a max pool of 2x2.
    """
    sizes = {size}
    for position, step in enumerate(steps):
        if position in endings:
            sizes |= {(height // 2, width // 2) for height, width in sizes}
        sizes = {after for before in sizes if min(after := feature_size(step, before)) > 0}
    return sizes


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
