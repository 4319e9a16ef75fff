"""Recognise a VGG: ``features.N`` and ``classifier``, whatever its widths, depth, head and number of classes.

The gaps between the indices of the features tell what had no weights. After a convolution (and its BatchNorm) a gap
of one is a ReLU, of two a ReLU and a pool, and after the first convolution three are a ReLU, a local response
normalization and a pool.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from vgg_models.architectures.head import Head, HeadLayer, make_head
from vgg_models.architectures.paper_table import Configuration, Entry, describe, name_of
from vgg_models.architectures.vgg import VGG, feature_map_size, make_features
from vgg_models.recognition.input_size import SizeReading, read_input_size
from vgg_models.recognition.reading import NOTHING_FOLLOWS, Reading
from vgg_models.recognition.saved_layers import SavedLayer, saved_layers

__all__ = ["SavedVGG", "read_head", "readings_of", "recognise"]

_AFTER_FIRST_CONVOLUTION: dict[int, Configuration] = {1: (), 2: ("M",), 3: ("LRN", "M")}
_AFTER_CONVOLUTION: dict[int, Configuration] = {1: (), 2: ("M",)}


@dataclass(frozen=True)
class SavedVGG:
    """What the keys and shapes of a VGG say."""

    configuration: Configuration
    batch_norm: bool
    bias: bool
    input_channels: int
    head: Head

    @property
    def name(self) -> str:
        return name_of(self.configuration, batch_norm=self.batch_norm) or "vgg"

    def features(self) -> nn.Sequential:
        return make_features(
            self.configuration, input_channels=self.input_channels, batch_norm=self.batch_norm, bias=self.bias
        )

    def build(self, pooled_size: tuple[int, int] | None) -> VGG:
        return VGG(self.features(), make_head(self.head), pooled_size=pooled_size)


def recognise(state: Mapping[str, Tensor], *, input_size: tuple[int, int] | None) -> list[Reading]:
    """Return the readings of the state dict as a VGG."""
    saved = _read(saved_layers(state))
    return readings_of(saved, input_size=input_size) if saved else []


def readings_of(saved: SavedVGG, *, input_size: tuple[int, int] | None) -> list[Reading]:
    """Return one reading for each size of input that fits."""
    readings = _sized(saved, input_size)
    if input_size is not None and saved.configuration[-1:] == ("M",) and not any(_fits(size) for size, _ in readings):
        # The last pool leaves no trace in the keys. Images of the given size that fit without it speak against it.
        without = replace(saved, configuration=saved.configuration[:-1])
        readings = [pair for pair in _sized(without, input_size) if _fits(pair[0])] or readings
    return [_reading(vgg, size) for size, vgg in readings]


def _sized(saved: SavedVGG, input_size: tuple[int, int] | None) -> list[tuple[SizeReading, SavedVGG]]:
    with torch.device("meta"):
        features = saved.features()
    channels = next(entry for entry in reversed(saved.configuration) if not isinstance(entry, str))
    width = channels[0] if isinstance(channels, tuple) else channels
    positions, rest = divmod(saved.head.in_features, width)
    if rest:
        return []
    measure = partial(feature_map_size, features, saved.input_channels)
    return [(size, saved) for size in read_input_size(measure, positions, input_size)]


def _fits(size: SizeReading) -> bool:
    return size.pooled_size is None and size.input_size is not None


def _reading(saved: SavedVGG, size: SizeReading) -> Reading:
    return Reading(
        name=saved.name,
        description=_description(saved),
        build=partial(saved.build, size.pooled_size),
        input_channels=saved.input_channels,
        input_size=size.input_size,
        reasons=tuple(_reasons(saved)),
        assumptions=(*_assumptions(saved), *([size.assumption] if size.assumption else [])),
        question=size.question,
        chosen_by=size.chosen_by or "--input-size",
        # torchvision's VGGs have such a pool; for a configuration that nobody published it is a last resort.
        needs_a_pool=size.pooled_size is not None and saved.name == "vgg",
    )


def _description(saved: SavedVGG) -> str:
    title = "a VGG of its own configuration" if saved.name == "vgg" else describe(saved.name)
    classes = f"{saved.head.num_classes} classes"
    return f"{title}, {saved.input_channels} input channels, {classes}"


def _reasons(saved: SavedVGG) -> list[str]:
    entries = ", ".join(
        f"{entry[0]} (1x1)" if isinstance(entry, tuple) else str(entry) for entry in saved.configuration
    )
    widths = [layer.out_features for layer in saved.head.layers if not layer.batch_norm]
    linears = " → ".join(map(str, [saved.head.in_features, *widths]))
    position = "a layer without weights first" if saved.head.dropout_first else "Linear first"
    return [
        f"widths and index gaps of the features: {entries}",
        f"classifier: Linear {linears}, {position}",
    ]


def _assumptions(saved: SavedVGG) -> list[str]:
    lines = [
        "convolutions have stride 1 and keep the size (3x3: padding 1), and a ReLU follows each",
        "pools (M) are max pools of 2x2",
    ]
    if saved.configuration[-1:] == ("M",):
        lines.append("a pool follows the last convolution")
    if "LRN" in saved.configuration:
        lines.append("local response normalization as in the AlexNet paper: size 5, alpha 1e-4, beta 0.75, k 2")
    if len(saved.head.layers) > 1:
        lines.append("in the classifier, a gap of one index is a ReLU, a gap of two a ReLU and a Dropout")
    return [*lines, NOTHING_FOLLOWS]


def _read(layers: list[SavedLayer]) -> SavedVGG | None:
    features = [layer for layer in layers if _is_feature(layer)]
    head = read_head([layer for layer in layers if not _is_feature(layer)])
    read = _read_features(features)
    if head is None or read is None:
        return None
    configuration, batch_norm = read
    biases = {layer.bias for layer in features if layer.kind == "convolution"}
    if len(biases) != 1:
        return None
    return SavedVGG(configuration, batch_norm, biases.pop(), features[0].shape[1], head)


def _is_feature(layer: SavedLayer) -> bool:
    return layer.parent == "features" and layer.name.isdigit()


def _read_features(layers: list[SavedLayer]) -> tuple[Configuration, bool] | None:
    """Return the configuration and whether it has BatchNorm; None where the features are not a VGG's."""
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


def _blocks(layers: list[SavedLayer]) -> list[list[SavedLayer]]:
    """Group each convolution with the BatchNorm right after it; empty where the layers don't come so."""
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


def read_head(layers: list[SavedLayer]) -> Head | None:
    """Return the classifier that these layers are; None where they are none."""
    if {layer.kind for layer in layers} - {"linear", "batch norm"} or not layers or layers[-1].kind != "linear":
        return None
    if len(layers) == 1 and layers[0].path == "classifier":
        return Head((_head_layer(layers[0], ""),))
    if any(layer.parent != "classifier" for layer in layers):
        return None
    try:
        return Head(tuple(_head_layer(layer, layer.name) for layer in layers))
    except ValueError:
        return None


def _head_layer(layer: SavedLayer, name: str) -> HeadLayer:
    return HeadLayer(name, layer.shape[-1], layer.shape[0], bias=layer.bias, batch_norm=layer.kind == "batch norm")
