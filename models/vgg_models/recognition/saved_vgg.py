"""The keys and shapes of a VGG: configuration, BatchNorm, head.

The gaps between the indices of the features show the layers without weights. After a convolution (and its BatchNorm) a
gap of one is a ReLU, of two a ReLU and a pool, and after the first convolution three are a ReLU, a local response
normalization and a pool.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from vgg_models.architectures.head import Head, HeadLayer, make_head
from vgg_models.architectures.vgg import VGG, Configuration, Entry, make_features, name_of
from vgg_models.recognition.saved_layers import MAX_ROW, SavedLayer

__all__ = ["SavedVGG", "read_features", "read_head", "read_vgg"]

_AFTER_FIRST_CONVOLUTION: dict[int, Configuration] = {1: (), 2: ("M",), 3: ("LRN", "M")}
_AFTER_CONVOLUTION: dict[int, Configuration] = {1: (), 2: ("M",)}


@dataclass(frozen=True)
class SavedVGG:
    """A VGG as its keys and shapes describe it."""

    configuration: Configuration
    batch_norm: bool
    bias: bool
    input_channels: int
    head: Head

    @property
    def name(self) -> str:
        return name_of(self.configuration, batch_norm=self.batch_norm) or "vgg"

    @property
    def normalized(self) -> bool:
        """Whether it has a local response normalization, for any k."""
        return any(entry in ("LRN", "LRN-k1") for entry in self.configuration)

    def features(self) -> nn.Sequential:
        """Build the convolutions and pools, with random weights."""
        return make_features(
            self.configuration, input_channels=self.input_channels, batch_norm=self.batch_norm, bias=self.bias
        )

    def build(self, pooled_size: tuple[int, int] | None) -> VGG:
        """Build the network, with random weights; ``pooled_size`` is that of its adaptive pool, if any."""
        return VGG(self.features(), make_head(self.head), pooled_size=pooled_size)


def read_vgg(layers: Sequence[SavedLayer]) -> SavedVGG | None:
    """Return the VGG that the layers describe; None if they are not a VGG's."""
    if len(layers) > MAX_ROW:
        return None
    features = [layer for layer in layers if _is_feature(layer)]
    head = read_head([layer for layer in layers if not _is_feature(layer)])
    read = read_features(features)
    if head is None or read is None:
        return None
    configuration, batch_norm = read
    biases = {layer.bias for layer in features if layer.kind == "convolution"}
    if len(biases) != 1:
        return None
    return SavedVGG(configuration, batch_norm, biases.pop(), features[0].shape[1], head)


def _is_feature(layer: SavedLayer) -> bool:
    return layer.parent == "features" and layer.name.isdigit()


def read_features(layers: Sequence[SavedLayer]) -> tuple[Configuration, bool] | None:
    """Return the configuration and whether it has BatchNorm; None if the features are not a VGG's."""
    blocks = _blocks(layers)
    if not blocks or blocks[0][0].name != "0":
        return None
    entries: list[Entry] = []
    for number, block in enumerate(blocks):
        entry = _entry(block, blocks[number - 1][0].shape[0] if number else None)
        following = int(blocks[number + 1][0].name) if number + 1 < len(blocks) else None
        gap = 2 if following is None else following - int(block[-1].name) - 1
        between = (_AFTER_CONVOLUTION if number else _AFTER_FIRST_CONVOLUTION).get(gap)
        if entry is None or between is None:
            return None
        entries += [entry, *between]
    sizes = {len(block) for block in blocks}
    return (tuple(entries), sizes == {2}) if len(sizes) == 1 else None


def _blocks(layers: Sequence[SavedLayer]) -> list[list[SavedLayer]]:
    """Group each convolution with the BatchNorm right after it; empty if the layers have another order."""
    blocks: list[list[SavedLayer]] = []
    for layer in layers:
        if layer.kind == "convolution":
            blocks.append([layer])
        elif not (blocks and _is_batch_norm_of(layer, blocks[-1])):
            return []
        else:
            blocks[-1].append(layer)
    return blocks


def _is_batch_norm_of(layer: SavedLayer, block: list[SavedLayer]) -> bool:
    return (
        layer.kind == "batch norm"
        and len(block) == 1
        and layer.shape == block[0].shape[:1]
        and int(layer.name) == int(block[0].name) + 1
    )


def _entry(block: list[SavedLayer], channels: int | None) -> Entry | None:
    width, given_channels, *kernel = block[0].shape
    if channels is not None and given_channels != channels:
        return None
    if kernel == [3, 3]:
        return width
    return (width, 1) if kernel == [1, 1] else None


def read_head(layers: Sequence[SavedLayer], path: str = "classifier") -> Head | None:
    """Return the classifier that these layers are, all of them at ``path``; None if they don't form one."""
    if {layer.kind for layer in layers} - {"linear", "batch norm"} or not layers or layers[-1].kind != "linear":
        return None
    if len(layers) == 1 and layers[0].path == path:
        return Head((_head_layer(layers[0], ""),))
    if any(layer.parent != path for layer in layers):
        return None
    try:
        return Head(tuple(_head_layer(layer, layer.name) for layer in layers))
    except ValueError:
        return None


def _head_layer(layer: SavedLayer, name: str) -> HeadLayer:
    return HeadLayer(name, layer.shape[-1], layer.shape[0], bias=layer.bias, batch_norm=layer.kind == "batch norm")
