"""Recognise a plain row of layers: one Sequential, several, Sequentials inside them, and then a classifier.

Every gap is filled with the layers that gap_grammar.py has for it, one option after the other, and convolutions are
tried with the padding that keeps the size and with none. Pools with no ReLU anywhere leave the keys of convolutions of
stride 2 with a ReLU each, so both are candidates. One remains if the feature maps come out as the first Linear layer
takes them.

Blocks that are alike end alike. At a size for which that doesn't fit, but pools after some of them do, the size is
asked about rather than passed over in silence. So is a row of Sequentials that a skip connection may lead over.
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
from vgg_models.recognition.candidates import NOTHING_FOLLOWS, ArchitectureCandidate
from vgg_models.recognition.input_size import COMMON_SIZES, Size, reachable_sizes
from vgg_models.recognition.layer_sequences import LayerSequence, enumerate_sequences
from vgg_models.recognition.saved_layers import MAX_ROW, SavedLayer, describe_layers, saved_layers
from vgg_runtime._internal.validation import counted

__all__ = ["recognise"]

_LARGEST_SIDE = 512
_IMAGE_CHANNELS = (1, 3)
_ASK = "give the size that you trained at: `input_size=N` or `input_size=(H, W)`"


def recognise(state: Mapping[str, Tensor], *, input_size: Size | None) -> list[ArchitectureCandidate]:
    """Return the candidates for the state dict as a row of layers."""
    saved = saved_layers(state)
    if not saved or len(saved) > MAX_ROW or not _is_row(saved):
        return []
    if saved[0].kind == "linear":
        return [_flat_candidate(sequence, input_size) for sequence in enumerate_sequences(saved)]
    return _candidates(list(enumerate_sequences(saved)), input_size)


def _is_row(saved: list[SavedLayer]) -> bool:
    """Whether the layers may run in their order: Sequentials of features, and then a classifier of Linear layers.

    A Sequential of which the name has an index in it, as in ``blocks.0.body.0``, is part of a module with its own
    forward.
    """
    features = list(takewhile(lambda layer: layer.kind in ("convolution", "batch norm"), saved))
    if not all(layer.indices and not _has_index(layer.root) for layer in features or saved[:1]):
        return False
    if any(after.path.startswith(f"{before.path}.") for before, after in pairwise(saved)):
        return False  # a layer inside a layer
    roots = [list(members) for _, members in groupby(saved, key=lambda layer: layer.root)]
    # The first layer runs first, and before the first Linear of a classifier only layers without effect are possible.
    starts = [members[0] for members in roots if members[0].indices]
    if any(sum(layer.indices) > (0 if layer.kind == "convolution" else 2) for layer in starts):
        return False
    if not features:
        return len(roots) == 1
    # Features in one Sequential and a head with several names may be a known network with another head: see nearest.py.
    in_blocks = len({layer.parent for layer in features}) > 1
    return features[0].kind == "convolution" and (in_blocks or len(roots) <= 2)


def _has_index(root: str) -> bool:
    return any(name.isdigit() for name in root.split("."))


def _candidates(sequences: list[LayerSequence], input_size: Size | None) -> list[ArchitectureCandidate]:
    sizes = [input_size] if input_size else [(side, side) for side in COMMON_SIZES]
    any_size = [sequence for sequence in sequences if sequence.takes_any_size and not input_size]
    fitting = [
        (sequence, size) for sequence in sequences if sequence not in any_size for size in _fitting(sequence, sizes)
    ]
    times = Counter(size for _, size in fitting)
    candidates = [_candidate(sequence, size, stated=input_size is not None, rivals=times) for sequence, size in fitting]
    candidates += _part_pooled(sequences, [size for size in sizes if size not in times])
    candidates += [_any_size_candidate(sequence) for sequence in any_size[:1] if _fitting(sequence, sizes)]
    if candidates or input_size:
        return candidates
    return [_open_candidate(sequence, sides) for sequence in sequences if (sides := _sides(sequence))]


def _part_pooled(sequences: list[LayerSequence], sizes: list[Size]) -> list[ArchitectureCandidate]:
    """A question about the sizes at which some blocks that are alike end in a pool, and others don't."""
    unpooled = [sequence for sequence in sequences if sequence.pools_told]
    fitting = {size for sequence in unpooled for size in _fitting(sequence, sizes, pools_open=True)}
    return [_part_pooled_candidate(unpooled[0], sorted(fitting))] if fitting else []


def _fitting(sequence: LayerSequence, sizes: list[Size], *, pools_open: bool = False) -> list[Size]:
    """The sizes at which the feature maps fit the first Linear.

    Args:
        pools_open: whether each Sequential may end in a pool independently of the others.
    """
    first = next(position for position, layer in enumerate(sequence.saved) if layer.kind == "linear")
    with torch.device("meta"):
        steps = sequence.steps()[: first + 1]
    endings = sequence.open_endings if pools_open else frozenset()
    positions, rest = divmod(sequence.saved[first].shape[1], sequence.saved[first - 1].shape[0])
    return [
        size
        for size in sizes
        if not rest and any(height * width == positions for height, width in reachable_sizes(steps, size, endings))
    ]


def _first_linear(sequence: LayerSequence) -> SavedLayer:
    return next(layer for layer in sequence.saved if layer.kind == "linear")


def _sides(sequence: LayerSequence) -> list[int]:
    return [height for height, _ in _fitting(sequence, [(side, side) for side in range(1, _LARGEST_SIDE)])]


def _candidate(sequence: LayerSequence, size: Size, *, stated: bool, rivals: Counter[Size]) -> ArchitectureCandidate:
    """The sequence at one size.

    Args:
        rivals: how many sequences fit at each size, including this one.
    """
    text = f"{size[0]}x{size[1]}"
    if skippable := find_skippable(sequence, size):
        return _skippable_candidate(sequence, text, skippable)
    sized = f"the images are {text}" + ": of the common sizes the only one that fits" * (len(rivals) == 1)
    return ArchitectureCandidate(
        name="cnn",
        description=f"a row of {describe_layers(sequence.saved)}, {counted(sequence.saved[-1].shape[0], 'class')}",
        build=sequence.build,
        input_channels=sequence.saved[0].shape[1],
        input_size=size,
        reasons=(
            f"the indices leave room for: {sequence}",
            f"so images of {text} give the {_first_linear(sequence).shape[1]} numbers that the first Linear takes",
        ),
        assumptions=(*_assumptions(sequence), *([] if stated else [sized])),
        chosen_by="`model='MODULE:CALLABLE'`" if stated or rivals[size] > 1 else f"`input_size={size[0]}`",
        needs_a_pool=sequence.takes_any_size,
    )


def _open_candidate(sequence: LayerSequence, sides: list[int]) -> ArchitectureCandidate:
    question = f"it takes images of {sides[0]} to {sides[-1]} pixels, none of the common sizes; {_ASK}"
    return replace(_asking(sequence, question, _assumptions(sequence)), chosen_by=f"`input_size={sides[0]}`")


def _asking(sequence: LayerSequence, question: str, assumptions: tuple[str, ...]) -> ArchitectureCandidate:
    """A candidate whose size, and perhaps more, is open."""
    return ArchitectureCandidate(
        name="cnn",
        description=f"a row of {describe_layers(sequence.saved)}",
        build=sequence.build,
        input_channels=sequence.saved[0].shape[1],
        input_size=None,
        reasons=(),
        assumptions=assumptions,
        question=question,
    )


def _skippable_candidate(sequence: LayerSequence, text: str, skippable: list[str]) -> ArchitectureCandidate:
    return _undecided(
        sequence,
        f"at {text} the feature maps leave {' and '.join(skippable)} with the width and size that they came with, and "
        "whether a skip connection leads over that can't be read off the keys",
        (NOTHING_FOLLOWS,),
    )


def _part_pooled_candidate(sequence: LayerSequence, sizes: list[Size]) -> ArchitectureCandidate:
    text = ", ".join(f"{height}x{width}" for height, width in sizes)
    return _undecided(
        sequence,
        f"images of {text} fit if some of the blocks that are alike end in a pool and the others don't; "
        "which ones do can't be read off the keys",
        _general_assumptions(sequence),
    )


def _undecided(sequence: LayerSequence, question: str, assumptions: tuple[str, ...]) -> ArchitectureCandidate:
    """A candidate of which more than the size is open, so that its forward is needed."""
    answer = "Give your own class or a function that makes the module: `model='MODULE:CALLABLE'`."
    return replace(_asking(sequence, question, assumptions), answer=answer)


def _any_size_candidate(sequence: LayerSequence) -> ArchitectureCandidate:
    candidate = _asking(
        sequence, f"global average pooling takes images of any size; {_ASK}", _general_assumptions(sequence)
    )
    return replace(candidate, chosen_by="`input_size=N`", needs_a_pool=True)


def _flat_candidate(sequence: LayerSequence, input_size: Size | None) -> ArchitectureCandidate:
    """Only Linear layers: the images are flattened, and the first width is channels times height times width."""
    width = sequence.saved[0].shape[1]
    channels, size = _image_of(width, input_size)
    return ArchitectureCandidate(
        name="mlp",
        description=f"a fully connected net of {describe_layers(sequence.saved)}, "
        f"{counted(sequence.saved[-1].shape[0], 'class')}",
        build=sequence.build,
        input_channels=channels,
        input_size=size,
        reasons=(f"the indices leave room for: {sequence}",),
        assumptions=(
            *_assumptions(sequence),
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


def _assumptions(sequence: LayerSequence) -> tuple[str, ...]:
    lines = []
    if any(layer.kind == "convolution" for layer in sequence.saved):
        lines.append(_convolutions(sequence))
        if not sequence.activated:
            lines.append("no activation follows a convolution: the index gaps leave no room for one beside the pools")
    if len(sequence.open_endings) > 1:
        lines.append("blocks of the same layers end alike, with a pool or without")
    lines.append(f"the layers without weights are as in: {sequence}")
    return (*lines, *_general_assumptions(sequence))


def _general_assumptions(sequence: LayerSequence) -> tuple[str, ...]:
    return (RUN_IN_ORDER, NOTHING_FOLLOWS) if is_row_of_blocks(sequence) else (NOTHING_FOLLOWS,)


def _convolutions(sequence: LayerSequence) -> str:
    if sequence.strided:
        padding = "are padded so that nothing else changes the size" if sequence.padded else "have no padding"
        return f"convolutions have stride 2 where the row says so, and {padding}"
    padding = "are padded so that they keep the size" if sequence.padded else "have no padding"
    return f"convolutions have stride 1 and {padding}; pools are max pools of 2x2"
