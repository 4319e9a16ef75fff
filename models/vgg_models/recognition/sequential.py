"""Recognise a plain row of layers: one Sequential, several, Sequentials inside them, and then a classifier.

Every gap is filled in each way that fillings.py has for it, and the convolutions are taken with the padding that keeps
the size and with none. Pools with no ReLU anywhere leave the keys of convolutions of stride 2 with a ReLU each, so both
are read. A reading remains where the feature maps come out as the first Linear layer takes them.

Blocks that are alike end alike. At a size where that doesn't fit, but pools after some of them do, the size is asked
about rather than passed over in silence. So is a row of Sequentials that a skip connection may lead over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from itertools import groupby, pairwise, takewhile
from math import isqrt

import torch
from torch import Tensor

from vgg_models.recognition.branches import RUN_IN_ORDER, find_skippable, is_row_of_blocks
from vgg_models.recognition.candidates import NOTHING_FOLLOWS, Reading
from vgg_models.recognition.input_size import COMMON_SIZES, Size, reachable_sizes
from vgg_models.recognition.layer_sequences import LayerSequence, rows
from vgg_models.recognition.saved_layers import SavedLayer, describe_layers, saved_layers
from vgg_runtime._internal.validation import counted

__all__ = ["recognise"]

_LARGEST_SIDE = 512
_IMAGE_CHANNELS = (1, 3)
_ASK = "give the size that you trained at: `input_size=N` or `input_size=(H, W)`"


def recognise(state: Mapping[str, Tensor], *, input_size: Size | None) -> list[Reading]:
    """Return the readings of the state dict as a row of layers."""
    saved = saved_layers(state)
    if not saved or not _is_row(saved):
        return []
    if saved[0].kind == "linear":
        return [_flat_reading(row, input_size) for row in rows(saved)]
    return _readings(list(rows(saved)), input_size)


def _is_row(saved: list[SavedLayer]) -> bool:
    """Whether the layers may run in their order: Sequentials of features, and then a classifier of Linear layers.

    A Sequential of which the name has an index in it, as in ``blocks.0.body.0``, is part of a module of its own.
    """
    features = list(takewhile(lambda layer: layer.kind in ("convolution", "batch norm"), saved))
    if not all(layer.indices and not _has_index(layer.root) for layer in features or saved[:1]):
        return False
    if any(after.path.startswith(f"{before.path}.") for before, after in pairwise(saved)):
        return False  # a layer inside a layer
    roots = [list(members) for _, members in groupby(saved, key=lambda layer: layer.root)]
    # The first layer is the first that runs, and before a classifier's first Linear only what has no effect fits.
    starts = [members[0] for members in roots if members[0].indices]
    if any(sum(layer.indices) > (0 if layer.kind == "convolution" else 2) for layer in starts):
        return False
    if not features:
        return len(roots) == 1
    # Features in one Sequential with a head of several names may be a known network with another head: see nearest.py.
    in_blocks = len({layer.parent for layer in features}) > 1
    return features[0].kind == "convolution" and (in_blocks or len(roots) <= 2)


def _has_index(root: str) -> bool:
    return any(name.isdigit() for name in root.split("."))


def _readings(candidates: list[LayerSequence], input_size: Size | None) -> list[Reading]:
    sizes = [input_size] if input_size else [(side, side) for side in COMMON_SIZES]
    any_size = [row for row in candidates if row.takes_any_size and not input_size]
    fitting = [(row, size) for row in candidates if row not in any_size for size in _fitting(row, sizes)]
    times = Counter(size for _, size in fitting)
    readings = [_reading(row, size, stated=input_size is not None, rivals=times) for row, size in fitting]
    readings += _part_pooled(candidates, [size for size in sizes if size not in times])
    readings += [_any_size_reading(row) for row in any_size[:1] if _fitting(row, sizes)]
    if readings or input_size:
        return readings
    return [_open_reading(row, sides) for row in candidates if (sides := _sides(row))]


def _part_pooled(candidates: list[LayerSequence], sizes: list[Size]) -> list[Reading]:
    """One question about the sizes at which some of the blocks that are alike end in a pool, and others don't."""
    unpooled = [row for row in candidates if row.pools_told]
    fitting = {size for row in unpooled for size in _fitting(row, sizes, pools_open=True)}
    return [_part_pooled_reading(unpooled[0], sorted(fitting))] if fitting else []


def _fitting(row: LayerSequence, sizes: list[Size], *, pools_open: bool = False) -> list[Size]:
    """The sizes at which the feature maps come out as the first Linear takes them.

    Args:
        pools_open: whether there may be a pool at the end of any Sequential, whatever lies at the end of the others.
    """
    first = next(position for position, layer in enumerate(row.saved) if layer.kind == "linear")
    with torch.device("meta"):
        steps = row.steps()[: first + 1]
    endings = row.open_endings if pools_open else frozenset()
    positions, rest = divmod(row.saved[first].shape[1], row.saved[first - 1].shape[0])
    return [
        size
        for size in sizes
        if not rest and any(height * width == positions for height, width in reachable_sizes(steps, size, endings))
    ]


def _first_linear(row: LayerSequence) -> SavedLayer:
    return next(layer for layer in row.saved if layer.kind == "linear")


def _sides(row: LayerSequence) -> list[int]:
    return [height for height, _ in _fitting(row, [(side, side) for side in range(1, _LARGEST_SIDE)])]


def _reading(row: LayerSequence, size: Size, *, stated: bool, rivals: Counter[Size]) -> Reading:
    """The row at one size.

    Args:
        rivals: how many rows fit at each size, this one among them.
    """
    text = f"{size[0]}x{size[1]}"
    if skippable := find_skippable(row, size):
        return _skippable_reading(row, text, skippable)
    sized = f"the images are {text}" + ": of the common sizes the only one that fits" * (len(rivals) == 1)
    return Reading(
        name="cnn",
        description=f"a row of {describe_layers(row.saved)}, {counted(row.saved[-1].shape[0], 'class')}",
        build=row.build,
        input_channels=row.saved[0].shape[1],
        input_size=size,
        reasons=(
            f"the indices leave room for: {row}",
            f"so images of {text} give the {_first_linear(row).shape[1]} numbers that the first Linear takes",
        ),
        assumptions=(*_assumptions(row), *([] if stated else [sized])),
        chosen_by="`model='MODULE:CALLABLE'`" if stated or rivals[size] > 1 else f"`input_size={size[0]}`",
        needs_a_pool=row.takes_any_size,
    )


def _open_reading(row: LayerSequence, sides: list[int]) -> Reading:
    question = f"it takes images of {sides[0]} to {sides[-1]} pixels, none of the common sizes; {_ASK}"
    return replace(_asking(row, question, _assumptions(row)), chosen_by=f"`input_size={sides[0]}`")


def _asking(row: LayerSequence, question: str, assumptions: tuple[str, ...]) -> Reading:
    """A row whose size, and perhaps more, is open."""
    return Reading(
        name="cnn",
        description=f"a row of {describe_layers(row.saved)}",
        build=row.build,
        input_channels=row.saved[0].shape[1],
        input_size=None,
        reasons=(),
        assumptions=assumptions,
        question=question,
    )


def _skippable_reading(row: LayerSequence, text: str, skippable: list[str]) -> Reading:
    return _undecided(
        row,
        f"at {text} the feature maps leave {' and '.join(skippable)} with the width and size that they came with, and "
        "whether a skip connection leads over that can't be read off the keys",
        (NOTHING_FOLLOWS,),
    )


def _part_pooled_reading(row: LayerSequence, sizes: list[Size]) -> Reading:
    text = ", ".join(f"{height}x{width}" for height, width in sizes)
    return _undecided(
        row,
        f"images of {text} fit if some of the blocks that are alike end in a pool and the others don't; "
        "which ones do can't be read off the keys",
        _general_assumptions(row),
    )


def _undecided(row: LayerSequence, question: str, assumptions: tuple[str, ...]) -> Reading:
    """A row about which more than the size is open: its forward has to be given."""
    answer = "Give your own class or a function that makes the module: `model='MODULE:CALLABLE'`."
    return replace(_asking(row, question, assumptions), answer=answer)


def _any_size_reading(row: LayerSequence) -> Reading:
    reading = _asking(row, f"global average pooling takes images of any size; {_ASK}", _general_assumptions(row))
    return replace(reading, chosen_by="`input_size=N`", needs_a_pool=True)


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
        question="" if size else f"{width} numbers are not a square image of 1 or 3 channels; {_ASK}",
    )


def _image_of(width: int, stated: Size | None) -> tuple[int, Size | None]:
    if stated is not None:
        channels, rest = divmod(width, stated[0] * stated[1])
        return (channels, stated) if channels and not rest else (1, None)
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
    if len(row.open_endings) > 1:
        lines.append("blocks of the same layers end alike, with a pool or without")
    lines.append(f"the layers without weights are as in: {row}")
    return (*lines, *_general_assumptions(row))


def _general_assumptions(row: LayerSequence) -> tuple[str, ...]:
    return (RUN_IN_ORDER, NOTHING_FOLLOWS) if is_row_of_blocks(row) else (NOTHING_FOLLOWS,)


def _convolutions(row: LayerSequence) -> str:
    if row.strided:
        padding = "are padded so that nothing else changes the size" if row.padded else "have no padding"
        return f"convolutions have stride 2 where the row says so, and {padding}"
    padding = "are padded so that they keep the size" if row.padded else "have no padding"
    return f"convolutions have stride 1 and {padding}; pools are max pools of 2x2"
