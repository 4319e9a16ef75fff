"""The gaps in a row of saved layers, and which of them are filled in the same way.

Layers without weights at the end of a Sequential leave no trace, so a gap there is open. Blocks with the same kinds of
layers at the same indices are assumed to end in the same way; sequential.py reports that assumption.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vgg_models.recognition.gap_grammar import UNKNOWN_GAP, GapLayers
from vgg_models.recognition.saved_layers import SavedLayer

__all__ = ["Slot", "activations_agree", "endings_agree", "find_slots"]

_ABOUT_FEATURES = ("ReLU", "MaxPool", "GlobalPool")

Block = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Slot:
    """The properties that decide how a gap is filled: gaps with equal slots are filled in the same way.

    Attributes:
        before, after: the kinds of the layers around it.
        gap: its length in layers, or UNKNOWN_GAP.
        flat: whether a Linear layer came before, so that there are no more feature maps.
        block: kinds and indices of the layers in the Sequential that ends here; empty if the gap is not open.
        ends: how many nested Sequentials end here.
        room: how many layers fit between those Sequentials and the next; None if they have no Sequential around
            them.
    """

    before: str
    after: str
    gap: int
    flat: bool
    block: Block = ()
    ends: int = 0
    room: int | None = None

    @property
    def open_features(self) -> bool:
        return self.gap == UNKNOWN_GAP and not self.flat

    @property
    def only_the_block(self) -> bool:
        """Whether the gap has only the end of the block itself.

        Between attributes nothing else is assumed; a separate pool would be an attribute too.
        """
        return self.open_features and self.ends == 1 and not self.room


def find_slots(saved: Sequence[SavedLayer]) -> list[Slot]:
    """Return the slot before each layer but the first."""
    return [_slot(saved, position) for position in range(1, len(saved))]


def _slot(saved: Sequence[SavedLayer], position: int) -> Slot:
    before, after = saved[position - 1], saved[position]
    flat = any(layer.kind == "linear" for layer in saved[:position])
    gap = before.gap_to(after)
    if gap is not None:
        return Slot(before.kind, after.kind, gap, flat)
    depth = before.depth_shared_with(after)
    block = tuple((layer.kind, layer.name) for layer in saved if layer.parent == before.parent)
    if depth is None:
        return Slot(before.kind, after.kind, UNKNOWN_GAP, flat, block, len(before.indices))
    room = after.indices[depth] - before.indices[depth] - 1
    return Slot(before.kind, after.kind, UNKNOWN_GAP, flat, block, len(before.indices) - depth - 1, room)


def activations_agree(selection: Mapping[Slot, GapLayers]) -> bool:
    """Whether all non-empty gaps between feature maps have a ReLU, or none has.

    If no index shows it, a ReLU is assumed, unless the indices elsewhere show that this network has none.
    """
    indexed, open_ = set(), set()
    for slot, gap_layers in selection.items():
        if slot.open_features:
            open_.add("ReLU" in gap_layers)
        elif not slot.flat and any(name in _ABOUT_FEATURES for name in gap_layers):
            indexed.add("ReLU" in gap_layers)
    return len(indexed) <= 1 and open_ <= (indexed or {True})


def endings_agree(selection: Mapping[Slot, GapLayers]) -> bool:
    """Whether blocks that are alike end alike, within a Sequential or at its end.

    If a block ends in a pool, so do all of its kind. If it does not, the layer after it may still be one.
    """
    for block in {slot.block for slot in selection if slot.only_the_block}:
        alike = {slot: "MaxPool" in gap_layers for slot, gap_layers in selection.items() if slot.block == block}
        of_the_block = {pooled for slot, pooled in alike.items() if slot.only_the_block}
        if len(of_the_block) > 1 or (of_the_block == {True} and not all(alike.values())):
            return False
    return True
