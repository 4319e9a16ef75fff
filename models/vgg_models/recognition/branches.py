"""Skip connections that a row of blocks can't rule out, because a sum leaves no key.

A skip connection needs no weights if feature maps come out of a Sequential, or of several in a row, with the width
and the size that they went in with. Numbered blocks are assumed to be in a Sequential, which has none; a
ModuleList would leave the same keys.
"""

from __future__ import annotations

from itertools import combinations, groupby, takewhile

from vgg_models.recognition.input_size import Size, feature_size
from vgg_models.recognition.layer_sequences import LayerSequence

__all__ = ["RUN_IN_ORDER", "find_skippable", "is_row_of_blocks"]

RUN_IN_ORDER = "the blocks run one after another in the order of the file, with no skip connection or branch"


def is_row_of_blocks(sequence: LayerSequence) -> bool:
    """Whether the convolutions are in several Sequentials, as attributes or nested in another one."""
    return len({layer.parent for layer in sequence.saved if layer.kind == "convolution"}) > 1


def find_skippable(sequence: LayerSequence, size: Size) -> list[str]:
    """Return the outermost Sequentials that a skip connection without weights may bypass; empty if it can't.

    Args:
        size: (height, width) of the images in pixels.
    """
    roots, maps = _feature_maps(sequence, size)
    if len(roots) == 1:
        return []
    spans = (roots[begin:end] for begin, end in combinations(range(len(maps)), 2) if maps[begin] == maps[end])
    return next(spans, [])


def _feature_maps(sequence: LayerSequence, size: Size) -> tuple[list[str], list[tuple[int, Size]]]:
    """The outermost Sequentials of the features, and (width, size) of the feature maps around each of them."""
    steps = sequence.steps()
    features = list(takewhile(lambda layer: layer.kind != "linear", sequence.saved))
    roots, maps = [], [(features[0].shape[1], size)]
    for root, members in groupby(enumerate(features), key=lambda numbered: numbered[1].root):
        positions = [position for position, _ in members]
        # The layers without weights after each are those at the beginning of the next step.
        layers = [layer for at in positions for layer in (steps[at][-1], *steps[at + 1][:-1])]
        roots.append(root)
        maps.append((features[positions[-1]].shape[0], feature_size(layers, maps[-1][1])))
    return roots, maps
