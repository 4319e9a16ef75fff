"""Recognise a VGG that timm built: ``features.N``, ``pre_logits.fc1`` and ``pre_logits.fc2``, ``head.fc``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from vgg_models.architectures.head import Chain
from vgg_models.architectures.timm_vgg import make_timm_vgg, stretched_size
from vgg_models.architectures.vgg import Configuration, describe, make_features, name_of
from vgg_models.recognition.candidates import NOTHING_FOLLOWS, ArchitectureCandidate
from vgg_models.recognition.saved_layers import SavedLayer, saved_layers
from vgg_models.recognition.saved_vgg import read_features

__all__ = ["recognise"]

_HEAD = {"pre_logits.fc1": "convolution", "pre_logits.fc2": "convolution", "head.fc": "linear"}
_SIZE = (224, 224)


def recognise(state: Mapping[str, Tensor], *, input_size: tuple[int, int] | None) -> list[ArchitectureCandidate]:
    """Return the candidate for the state dict as one of timm's VGGs."""
    layers = saved_layers(state)
    features = [layer for layer in layers if layer.parent == "features"]
    head = [layer for layer in layers if layer.parent != "features"]
    if {layer.path: layer.kind for layer in head} != _HEAD:
        return []
    read = read_features(features)
    name = name_of(read[0], batch_norm=read[1]) if read else None
    if read is None or name is None:
        return []
    channels, size = features[0].shape[1], input_size or _SIZE
    sized = f"the images are {size[0]}x{size[1]}, timm's size (`input_size=N` if you trained at another)"
    return [
        ArchitectureCandidate(
            name=name,
            description=f"{describe(name)} as timm builds it, {state['head.fc.weight'].shape[0]} classes",
            build=partial(_build, *read, channels, sorted(head, key=lambda layer: list(_HEAD).index(layer.path)), size),
            input_channels=channels,
            input_size=size,
            reasons=(
                f"widths and index gaps of the features are those of {name}",
                "pre_logits.fc1 and pre_logits.fc2 are convolutions, as in timm's VGGs",
            ),
            assumptions=(
                "as in timm, pools are max pools of 2x2, and the outputs of pre_logits are averaged",
                NOTHING_FOLLOWS,
                *([] if input_size else [sized]),
            ),
        )
    ]


def _build(
    configuration: Configuration, batch_norm: bool, channels: int, head: Sequence[SavedLayer], size: tuple[int, int]
) -> Chain:
    with torch.device("meta"):
        on_meta = make_features(configuration, input_channels=channels, batch_norm=batch_norm)
    first, second, last = (layer.shape for layer in head)
    kernel = (first[2], first[3])
    return make_timm_vgg(
        make_features(configuration, input_channels=channels, batch_norm=batch_norm),
        widths=(first[1], first[0], second[0], last[0]),
        kernel=kernel,
        pool=stretched_size(on_meta, channels, size, kernel[0]),
    )
