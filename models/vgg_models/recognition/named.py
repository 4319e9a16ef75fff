"""A state dict as the VGG that the user named: the features from the name, the rest from the checkpoint."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from vgg_models.architectures.head import paper_head
from vgg_models.architectures.paper_table import configuration_of
from vgg_models.recognition.reading import Reading
from vgg_models.recognition.saved_layers import SavedLayer, saved_layers
from vgg_models.recognition.saved_vgg import SavedVGG, read_head
from vgg_models.recognition.vgg import readings_of
from vgg_runtime.errors import ArchitectureError

__all__ = ["named_readings"]


def named_readings(name: str, state: Mapping[str, Tensor], *, input_size: tuple[int, int] | None) -> list[Reading]:
    """Return the readings of the state dict as one of VGG_NAMES; whether it fits shows when it is loaded.

    Args:
        state: with no wrapper's prefix any more.

    Raises:
        ArchitectureError: no size of input leads from these features to this classifier.
    """
    layers = saved_layers(state)
    first = next((layer for layer in layers if layer.path == "features.0" and layer.kind == "convolution"), None)
    configuration, batch_norm = configuration_of(name)
    saved = SavedVGG(
        configuration=configuration,
        batch_norm=batch_norm,
        bias=first.bias if first else True,
        input_channels=first.shape[1] if first else 3,
        # Where the head can't be read, the paper's goes in its place, and loading lists what is missing.
        head=read_head([layer for layer in layers if not _is_feature(layer)]) or paper_head(25088, 1000),
    )
    readings = readings_of(saved, input_size=input_size)
    if not readings:
        raise ArchitectureError(
            f"the classifier takes {saved.head.in_features} numbers, which {name} doesn't give at any size of image.",
            hint="Leave out --model to have the architecture read off the checkpoint.",
        )
    return readings


def _is_feature(layer: SavedLayer) -> bool:
    return layer.path.startswith("features.")
