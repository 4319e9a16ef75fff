"""All ways to fill the gaps between saved layers that stand in one row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from torch import nn

from vgg_models.architectures.chain import Chain
from vgg_models.recognition.fillings import LAYERS, OPEN, Filling, fillings
from vgg_models.recognition.placing import place
from vgg_models.recognition.saved_layers import SavedLayer

__all__ = ["Row", "rows"]

_ABOUT_FEATURES = ("ReLU", "MaxPool", "GlobalPool")


@dataclass(frozen=True)
class Row:
    """Saved layers, what lies before each of them, and whether the convolutions keep the size of the feature maps."""

    saved: tuple[SavedLayer, ...]
    before: tuple[Filling, ...]
    padded: bool

    def layers(self) -> list[nn.Module]:
        layers: list[nn.Module] = []
        flat = False
        for saved, filling in zip(self.saved, self.before, strict=True):
            layers += [LAYERS[word]() for word in filling]
            layers.append(_build(saved, padded=self.padded, flat=flat))
            flat = flat or saved.kind == "linear"
        return layers

    def build(self) -> Chain:
        return place(self.layers(), self.saved)

    def __str__(self) -> str:
        words = []
        for saved, filling in zip(self.saved, self.before, strict=True):
            words += [*filling, _describe(saved)]
        return ", ".join(words)


def rows(saved: Sequence[SavedLayer]) -> Iterator[Row]:
    """Yield every row that the grammar has for these layers; none where they do not follow from one another.

    Gaps of the same length between the same kinds of layer are all filled in the same way.
    """
    if not saved or saved[-1].kind != "linear" or not all(map(_follows, saved, saved[1:])):
        return
    first: Filling = ("Flatten",) if saved[0].kind == "linear" else ()
    slots = [_slot(saved, position) for position in range(1, len(saved))]
    kinds = list(dict.fromkeys(slots))
    padded = {layer.shape[2:] != (1, 1) for layer in saved if layer.kind == "convolution"}
    for choice in product(*(fillings(before, after, gap, flat=flat) for before, after, gap, flat in kinds)):
        chosen = dict(zip(kinds, choice, strict=True))
        if _activations_agree(chosen):
            for keeps_size in (True, False) if True in padded else (True,):
                yield Row(tuple(saved), (first, *(chosen[slot] for slot in slots)), keeps_size)


Slot = tuple[str, str, int, bool]


def _slot(saved: Sequence[SavedLayer], position: int) -> Slot:
    before, after = saved[position - 1], saved[position]
    gap = before.gap_to(after)
    flat = any(layer.kind == "linear" for layer in saved[:position])
    return before.kind, after.kind, OPEN if gap is None else gap, flat


def _activations_agree(chosen: dict[Slot, Filling]) -> bool:
    """Whether a ReLU lies in all gaps between feature maps that hold anything, or in none.

    Where no index tells, it is taken to be there, unless the indices elsewhere show that this network has none.
    """
    told, untold = set(), set()
    for (_, _, gap, flat), filling in chosen.items():
        if not flat and gap == OPEN:
            untold.add("ReLU" in filling)
        elif not flat and any(word in _ABOUT_FEATURES for word in filling):
            told.add("ReLU" in filling)
    return len(told) <= 1 and untold <= (told or {True})


def _follows(before: SavedLayer, after: SavedLayer) -> bool:
    """Whether the one can take what the other gives."""
    width = before.shape[0] if before.shape else 0
    if "other" in (before.kind, after.kind):
        return False
    if after.kind == "linear" and before.kind == "convolution":
        return after.shape[1] % width == 0
    if after.kind == "linear" and before.kind == "batch norm":
        return after.shape[1] % width == 0
    return after.shape[0 if after.kind == "batch norm" else 1] == width


def _build(saved: SavedLayer, *, padded: bool, flat: bool) -> nn.Module:
    if saved.kind == "convolution":
        out_channels, in_channels, *kernel = saved.shape
        padding = tuple(side // 2 for side in kernel) if padded else 0
        return nn.Conv2d(in_channels, out_channels, tuple(kernel), padding=padding, bias=saved.bias)  # type: ignore[arg-type]
    if saved.kind == "linear":
        return nn.Linear(saved.shape[1], saved.shape[0], bias=saved.bias)
    return nn.BatchNorm1d(saved.shape[0]) if flat else nn.BatchNorm2d(saved.shape[0])


def _describe(saved: SavedLayer) -> str:
    if saved.kind == "convolution":
        out_channels, in_channels, height, width = saved.shape
        return f"Conv {in_channels}→{out_channels} {height}x{width}"
    return f"Linear {saved.shape[1]}→{saved.shape[0]}" if saved.kind == "linear" else "BatchNorm"
