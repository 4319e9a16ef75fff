"""What the caller of load_model named, and what was built for it before the last checks."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from vgg_models.loaded_model import CheckpointInfo
from vgg_runtime.manifest import Architecture

__all__ = ["Built", "Request", "Size"]

Size = tuple[int, int]


@dataclass(frozen=True)
class Request:
    """The arguments of load_model that are not the source."""

    model: str | None
    input_size: Size | None
    likely_size: Size | None
    input_channels: int | None
    num_classes: int | None
    seed: int
    attribute_order: bool


@dataclass(frozen=True)
class Built:
    """A module with its weights.

    Attributes:
        input_channels, input_size: None where the module has to be tried out for them.
    """

    module: nn.Module
    architecture: Architecture
    checkpoint: CheckpointInfo
    input_channels: int | None = None
    input_size: Size | None = None
