"""Recognise a plain row of layers: one Sequential, or one of features and then a classifier.

Every gap between indices is filled in each way that fillings.py has for it, and the convolutions are taken with the
padding that keeps the size and with none. Pools with no ReLU anywhere leave the keys of convolutions of stride 2 with
a ReLU each, so both are read. A reading remains where the feature maps come out as the first Linear layer takes them.
More than two Sequentials have no reading here: what joins them may be a sum.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import groupby
from math import isqrt

import torch
from torch import Tensor

from vgg_models.recognition.candidates import NOTHING_FOLLOWS, Reading
from vgg_models.recognition.input_size import COMMON_SIZES, feature_size
from vgg_models.recognition.layer_sequences import LayerSequence, rows
from vgg_models.recognition.saved_layers import SavedLayer, describe_layers, saved_layers
from vgg_runtime._internal.validation import counted

__all__ = ["recognise"]

Size = tuple[int, int]

_LARGEST_SIDE = 512
_IMAGE_CHANNELS = (1, 3)
_ASK = "give the size that you trained at: --input-size N or --input-size HxW"


def recognise(state: Mapping[str, Tensor], *, input_size: Size | None) -> list[Reading]:
    """Return the readings of the state dict as a row of layers."""
    saved = saved_layers(state)
    if not _is_one_row(saved):
        return []
    if saved[0].kind == "linear":
        return [_flat_reading(row, input_size) for row in rows(saved)]
    return _readings(list(rows(saved)), input_size)


def _is_one_row(saved: list[SavedLayer]) -> bool:
    """Whether the layers are those of one Sequential, or of one and then a classifier."""
    parts = [
        list(part) for _, part in groupby(saved, key=lambda layer: layer.parent if layer.name.isdigit() else layer)
    ]
    if not 1 <= len(parts) <= 2:
        return False
    features_only = all(layer.kind in ("convolution", "batch norm") for layer in parts[0])
    # The first layer is the first that runs, and before a classifier's first Linear only what has no effect fits.
    starts = [part[0] for part in parts if part[0].name.isdigit()]
    begins_well = all(int(layer.name) <= (0 if layer.kind == "convolution" else 2) for layer in starts)
    return begins_well and parts[0][0].name.isdigit() and (len(parts) == 1 or features_only)


def _readings(candidates: list[LayerSequence], input_size: Size | None) -> list[Reading]:
    sizes = [input_size] if input_size else [(side, side) for side in COMMON_SIZES]
    fitting = [(row, size) for row in candidates for size in sizes if _fits(row, size)]
    times = Counter(size for _, size in fitting)
    readings = [_reading(row, size, given=input_size is not None, rivals=times) for row, size in fitting]
    if readings or input_size:
        return readings
    return [_open_reading(row, sides) for row in candidates if (sides := _sides(row))]


def _fits(row: LayerSequence, size: Size) -> bool:
    with torch.device("meta"):
        height, width = feature_size(row.layers(), size)
    last = next(before for before, after in zip(row.saved, row.saved[1:], strict=False) if after.kind == "linear")
    return height * width > 0 and height * width * last.shape[0] == _first_linear(row).shape[1]


def _first_linear(row: LayerSequence) -> SavedLayer:
    return next(layer for layer in row.saved if layer.kind == "linear")


def _sides(row: LayerSequence) -> list[int]:
    return [side for side in range(1, _LARGEST_SIDE) if _fits(row, (side, side))]


def _reading(row: LayerSequence, size: Size, *, given: bool, rivals: Counter[Size]) -> Reading:
    """The row at one size.

    Args:
        rivals: how many rows fit at each size, this one among them.
    """
    shown = f"{size[0]}x{size[1]}"
    sized = f"the images are {shown}" + ": of the common sizes the only one that fits" * (len(rivals) == 1)
    return Reading(
        name="cnn",
        description=f"a row of {describe_layers(row.saved)}, {counted(row.saved[-1].shape[0], 'class')}",
        build=row.build,
        input_channels=row.saved[0].shape[1],
        input_size=size,
        reasons=(
            f"the indices leave room for: {row}",
            f"so images of {shown} give the {_first_linear(row).shape[1]} numbers that the first Linear takes",
        ),
        assumptions=(*_assumptions(row), *([] if given else [sized])),
        chosen_by="--model MODULE:CALLABLE" if given or rivals[size] > 1 else f"--input-size {size[0]}",
        needs_a_pool=any("GlobalPool" in filling for filling in row.before),
    )


def _open_reading(row: LayerSequence, sides: list[int]) -> Reading:
    return Reading(
        name="cnn",
        description=f"a row of {describe_layers(row.saved)}",
        build=row.build,
        input_channels=row.saved[0].shape[1],
        input_size=None,
        reasons=(),
        assumptions=_assumptions(row),
        question=f"it takes images of {sides[0]} to {sides[-1]} pixels, none of the common sizes; {_ASK}",
        chosen_by=f"--input-size {sides[0]}",
    )


def _flat_reading(row: LayerSequence, input_size: Size | None) -> Reading:
    """Linear layers alone: the images are flattened, and the first width is channels times height times width."""
    width = row.saved[0].shape[1]
    channels, size = _image_of(width, input_size)
    return Reading(
        name="mlp",
        description=f"a fully connected net of {describe_layers(row.saved)}, "
        f"{counted(row.saved[-1].shape[0], 'class')}",
        build=row.build,
        input_channels=channels,
        input_size=size,
        reasons=(f"the indices leave room for: {row}",),
        assumptions=(
            *_assumptions(row),
            *([f"{width} numbers are {channels}x{size[0]}x{size[1]} pixels"] if size else []),
        ),
        question="" if size else f"{width} numbers are no square image of 1 or 3 channels; {_ASK}",
    )


def _image_of(width: int, given: Size | None) -> tuple[int, Size | None]:
    if given is not None:
        channels, rest = divmod(width, given[0] * given[1])
        return (channels, given) if channels and not rest else (1, None)
    for channels in _IMAGE_CHANNELS:
        side = isqrt(width // channels)
        if side in COMMON_SIZES and channels * side * side == width:
            return channels, (side, side)
    return 1, None


def _assumptions(row: LayerSequence) -> tuple[str, ...]:
    lines = []
    if any(layer.kind == "convolution" for layer in row.saved):
        lines.append(_convolutions(row))
        if not row.activated:
            lines.append("no activation follows a convolution: the index gaps leave no room for one beside the pools")
    lines.append(f"the layers without weights are as in: {row}")
    return (*lines, NOTHING_FOLLOWS)


def _convolutions(row: LayerSequence) -> str:
    if row.strided:
        padding = "are padded so that nothing else changes the size" if row.padded else "have no padding"
        return f"convolutions have stride 2 where the row says so, and {padding}"
    padding = "are padded so that they keep the size" if row.padded else "have no padding"
    return f"convolutions have stride 1 and {padding}; pools are max pools of 2x2"
