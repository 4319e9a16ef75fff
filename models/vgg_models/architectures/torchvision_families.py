"""torchvision's classifiers by the keys that only their family has."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

__all__ = ["FAMILIES", "Family", "count_trunk_keys", "family_of"]

_SAME_KEYS = "strides, pools and activations leave no keys; they are torchvision's"
_BASIC_BLOCK = (
    "no blur pool stands before a stride, as in torchvision's and timm's resnet18 (timm's resnetblur18 has the same "
    "keys and other outputs)"
)
_BOTTLENECK = (
    "the stride of a bottleneck is that of its 3x3 convolution, with no blur pool, as in torchvision's and timm's "
    "resnet50 (Caffe's ResNets, timm's resnetaa50 and resnetblur50 have the same keys and other outputs)"
)


@dataclass(frozen=True)
class Family:
    """Networks that differ in their shapes and the number of their blocks.

    Attributes:
        keys: keys in every state dict of the family, whatever its head.
        networks: torchvision's names, and the count_trunk_keys of each, so that only possible matches are built.
        assumptions: what networks with the same keys may do otherwise.
    """

    keys: tuple[str, ...]
    networks: Mapping[str, int]
    assumptions: tuple[str, ...] = (_SAME_KEYS,)

    def __post_init__(self) -> None:
        object.__setattr__(self, "networks", MappingProxyType(dict(self.networks)))


# The most specific first: bottlenecks have the keys of basic blocks too.
FAMILIES: Final[tuple[Family, ...]] = (
    Family(
        ("layer1.0.conv3.weight", "layer4.0.bn1.weight"),
        {"resnet50": 265, "resnet101": 520, "resnet152": 775}
        | {"resnext50_32x4d": 265, "resnext101_32x8d": 520, "resnext101_64x4d": 520}
        | {"wide_resnet50_2": 265, "wide_resnet101_2": 520},
        (_SAME_KEYS, _BOTTLENECK),
    ),
    Family(
        ("layer1.0.conv1.weight", "layer4.0.bn1.weight"),
        {"resnet18": 100, "resnet34": 180},
        (_SAME_KEYS, _BASIC_BLOCK),
    ),
    Family(("features.1.conv.0.0.weight",), {"mobilenet_v2": 260}),
    Family(("features.1.block.0.0.weight",), {"mobilenet_v3_small": 206, "mobilenet_v3_large": 262}),
    Family(
        ("features.1.0.block.0.0.weight",),
        {"efficientnet_b0": 309, "efficientnet_b1": 437, "efficientnet_b2": 437, "efficientnet_b3": 494}
        | {"efficientnet_b4": 608, "efficientnet_b5": 736, "efficientnet_b6": 850, "efficientnet_b7": 1035}
        | {"efficientnet_v2_s": 670, "efficientnet_v2_m": 961, "efficientnet_v2_l": 1329},
    ),
    Family(
        ("features.denseblock1.denselayer1.norm1.weight",),
        {"densenet121": 604, "densenet161": 804, "densenet169": 844, "densenet201": 1004},
    ),
    Family(("inception3a.branch1.conv.weight",), {"googlenet": 285}),
    Family(("Mixed_5b.branch1x1.conv.weight",), {"inception_v3": 470}),
    Family(("features.3.squeeze.weight",), {"squeezenet1_0": 50, "squeezenet1_1": 50}),
    Family(
        ("stage2.0.branch2.0.weight",),
        dict.fromkeys(("shufflenet_v2_x0_5", "shufflenet_v2_x1_0", "shufflenet_v2_x1_5", "shufflenet_v2_x2_0"), 280),
    ),
    Family(
        ("layers.8.0.layers.0.weight",),
        dict.fromkeys(("mnasnet0_5", "mnasnet0_75", "mnasnet1_0", "mnasnet1_3"), 260),
    ),
    Family(
        ("trunk_output.block1.block1-0.f.se.fc1.weight",),
        {"regnet_y_400mf": 329, "regnet_y_800mf": 291, "regnet_y_1_6gf": 538, "regnet_y_3_2gf": 424}
        | {"regnet_y_8gf": 348, "regnet_y_16gf": 367, "regnet_y_32gf": 405, "regnet_y_128gf": 538},
    ),
    Family(
        ("trunk_output.block1.block1-0.f.a.0.weight",),
        {"regnet_x_400mf": 355, "regnet_x_800mf": 265, "regnet_x_1_6gf": 295, "regnet_x_3_2gf": 400}
        | {"regnet_x_8gf": 370, "regnet_x_16gf": 355, "regnet_x_32gf": 370},
    ),
    Family(
        ("features.1.0.layer_scale",),
        {"convnext_tiny": 178, "convnext_small": 340, "convnext_base": 340, "convnext_large": 340},
    ),
    Family(
        ("encoder.layers.encoder_layer_0.ln_1.weight",),
        {"vit_b_16": 150, "vit_b_32": 150, "vit_l_16": 294, "vit_l_32": 294, "vit_h_14": 390},
    ),
    Family(("features.1.0.attn.logit_scale",), {"swin_v2_t": 231, "swin_v2_s": 447, "swin_v2_b": 447}),
    Family(("features.1.0.attn.relative_position_bias_table",), {"swin_t": 183, "swin_s": 351, "swin_b": 351}),
    Family(("blocks.0.layers.0.layers.MBconv.layers.pre_norm.weight",), {"maxvit_t": 543}),
    # No VGG has convolutions at all of these indices.
    Family(tuple(f"features.{index}.weight" for index in (0, 3, 6, 8, 10)), {"alexnet": 10}),
)

# The attributes of these networks that give classes; the last three only in training.
_HEADS = frozenset({"fc", "classifier", "heads", "head", "aux1", "aux2", "AuxLogits"})


def family_of(keys: Collection[str]) -> Family | None:
    """Return the family whose keys are all present."""
    return next((family for family in FAMILIES if all(key in keys for key in family.keys)), None)


def count_trunk_keys(keys: Collection[str]) -> int:
    """Count the keys outside the heads, without BatchNorm's counters, which old files lack."""
    return sum(key.partition(".")[0] not in _HEADS and not key.endswith(".num_batches_tracked") for key in keys)
