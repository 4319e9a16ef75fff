"""VGG as timm builds it: the fully connected layers are convolutions, whose outputs are averaged over the positions.

On images of 224x224 it computes what the VGGs of vgg.py do. On larger ones the convolutions see several positions; on
smaller ones an adaptive pool stretches the feature maps to the kernel of the first.
"""

from __future__ import annotations

from torch import nn

from vgg_models.architectures.head import Chain
from vgg_models.architectures.vgg import feature_map_size

__all__ = ["make_timm_vgg", "stretched_size"]


def make_timm_vgg(
    features: nn.Sequential, *, widths: tuple[int, int, int, int], kernel: tuple[int, int], pool: tuple[int, int] | None
) -> Chain:
    """Build the network with timm's key names: ``features.N``, ``pre_logits.fc1``, ``pre_logits.fc2``, ``head.fc``.

    Args:
        widths: of the features, of both convolutions of the head, and the number of classes.
        kernel: (height, width) of the first convolution of the head; the second is 1x1.
        pool: see stretched_size.
    """
    channels, first, second, classes = widths
    stretch = [("pre_logits.pool", nn.AdaptiveAvgPool2d(pool))] if pool else []
    return Chain(
        [
            *((f"features.{name}", layer) for name, layer in features.named_children()),
            *stretch,
            ("pre_logits.fc1", nn.Conv2d(channels, first, kernel)),
            ("pre_logits.act1", nn.ReLU(inplace=True)),
            ("pre_logits.fc2", nn.Conv2d(first, second, 1)),
            ("pre_logits.act2", nn.ReLU(inplace=True)),
            ("head.global_pool", nn.AdaptiveAvgPool2d(1)),
            ("head.flatten", nn.Flatten()),
            ("head.fc", nn.Linear(second, classes)),
        ]
    )


def stretched_size(
    features: nn.Module, input_channels: int, input_size: tuple[int, int], side: int
) -> tuple[int, int] | None:
    """Return the (height, width) to which timm pools feature maps that are smaller than ``side``; None if none is.

    Args:
        features: their parameters are on the meta device.
        side: side of the kernel of the head's first convolution.
    """
    height, width = feature_map_size(features, input_channels, input_size)
    return None if min(height, width) >= side else (max(height, side), max(width, side))
