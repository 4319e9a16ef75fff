"""A VGG by its name, with the paper's head."""

from __future__ import annotations

import torch

from vgg_models.architectures.head import make_head, paper_head
from vgg_models.architectures.paper_table import configuration_of
from vgg_models.architectures.vgg import VGG, feature_map_size, make_features
from vgg_runtime.errors import ArchitectureError

__all__ = ["build_vgg"]


def build_vgg(
    name: str, *, num_classes: int = 1000, input_channels: int = 3, input_size: tuple[int, int] = (224, 224)
) -> VGG:
    """Build one of VGG_NAMES for images of ``input_size`` (height, width), with a head made to measure.

    Raises:
        ArchitectureError: the images are too small for the pools.
    """
    configuration, batch_norm = configuration_of(name)
    with torch.device("meta"):
        on_meta = make_features(configuration, input_channels=input_channels, batch_norm=batch_norm)
    height, width = feature_map_size(on_meta, input_channels, input_size)
    if height * width == 0:
        pools = configuration.count("M")
        raise ArchitectureError(
            f"images of {input_size[0]}x{input_size[1]} are too small for {name}: its {pools} pools need {2**pools}.",
            hint=f"Give --input-size {2**pools} or more.",
        )
    features = make_features(configuration, input_channels=input_channels, batch_norm=batch_norm)
    return VGG(features, make_head(paper_head(512 * height * width, num_classes)))
