"""The layers that may fill a gap between two layers of a Sequential: the grammar of sequential.py.

Names stand for layers: ReLU, MaxPool (2x2), GlobalPool (the mean of each feature map), Flatten, Dropout. Gaps of
other lengths have no candidates. Average pools are not considered: they are rarer, and would leave the same keys.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Literal

from torch import nn

__all__ = ["LAYERS", "UNKNOWN_GAP", "GapLayers", "LayerName", "gap_candidates"]

LayerName = Literal["ReLU", "MaxPool", "GlobalPool", "Flatten", "Dropout"]
GapLayers = tuple[LayerName, ...]

# The length of a gap that no index shows: at the end of a Sequential, or between attributes.
UNKNOWN_GAP: Final = -1

LAYERS: Final[Mapping[LayerName, Callable[[], nn.Module]]] = {
    "ReLU": nn.ReLU,
    "MaxPool": lambda: nn.MaxPool2d(2),
    "GlobalPool": lambda: nn.AdaptiveAvgPool2d(1),
    "Flatten": nn.Flatten,
    "Dropout": nn.Dropout,
}

_BEFORE_CONVOLUTION: Final[Mapping[int, tuple[GapLayers, ...]]] = {
    0: ((),),
    1: (("ReLU",), ("MaxPool",)),
    2: (("ReLU", "MaxPool"),),
    3: (("ReLU", "MaxPool", "Dropout"),),
    UNKNOWN_GAP: (("ReLU",), ("ReLU", "MaxPool")),  # a block without an activation is too rare to ask about
}
_BEFORE_NORM: Final[Mapping[int, tuple[GapLayers, ...]]] = {0: ((),), 1: (("ReLU",),)}
_BEFORE_FIRST_LINEAR: Final[Mapping[int, tuple[GapLayers, ...]]] = {
    1: (("Flatten",),),
    2: (("ReLU", "Flatten"), ("MaxPool", "Flatten"), ("GlobalPool", "Flatten")),
    3: (("ReLU", "MaxPool", "Flatten"), ("ReLU", "GlobalPool", "Flatten")),
    4: (("ReLU", "MaxPool", "Flatten", "Dropout"), ("ReLU", "MaxPool", "GlobalPool", "Flatten")),
    UNKNOWN_GAP: (
        ("Flatten",),
        ("ReLU", "Flatten"),
        ("MaxPool", "Flatten"),
        ("ReLU", "MaxPool", "Flatten"),
        ("ReLU", "GlobalPool", "Flatten"),
        ("ReLU", "MaxPool", "GlobalPool", "Flatten"),
    ),
}
_BEFORE_LINEAR: Final[Mapping[int, tuple[GapLayers, ...]]] = {
    0: ((),),
    1: (("ReLU",),),
    2: (("ReLU", "Dropout"),),
    UNKNOWN_GAP: (("ReLU",), ()),  # both are common between fc1 and fc2
}


def gap_candidates(before: str, after: str, gap: int, *, flat: bool) -> tuple[GapLayers, ...]:
    """Return the possible contents of a gap; none if the grammar has none.

    Args:
        before, after: the kinds of the layers around the gap.
        flat: whether a Linear layer came before, so that there are no more feature maps.
    """
    if after == "batch norm":
        return _BEFORE_NORM.get(gap, ())
    if after == "convolution":
        return () if flat else _BEFORE_CONVOLUTION.get(gap, ())
    return (_BEFORE_LINEAR if flat else _BEFORE_FIRST_LINEAR).get(gap, ())
