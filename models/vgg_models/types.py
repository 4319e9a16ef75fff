"""The request and the result of loading a checkpoint."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias, get_args

from torch import nn

from vgg_models.metadata import CheckpointMetadata
from vgg_runtime.bundle.manifest import Architecture

__all__ = [
    "BuiltModel",
    "CheckpointInfo",
    "CheckpointKind",
    "CheckpointSource",
    "LoadRequest",
    "LoadedModel",
    "Size",
    "WeightsChoice",
]


CheckpointKind = Literal["state dict", "module", "torchscript", "safetensors", "torchvision", "random"]
WeightsChoice = Literal["raw", "ema"]

# A path or a name; a module; a state dict, or the dict of a training loop that holds one.
CheckpointSource: TypeAlias = str | os.PathLike[str] | nn.Module | Mapping[str, Any]


@dataclass(frozen=True)
class CheckpointInfo:
    """The source of the weights.

    Attributes:
        kind: form of the source.
        sha256: hexadecimal digest of the file; None if there is no file.
        bytes: size of the file; None if there is no file.
        averaged: whether the weights are a running average of the trained ones.
        notes: what was done to the contents: prefixes removed, types cast, the key of the weights.
        remarks: those of the notes that a user has to see: choices, and facts that were taken from the checkpoint.

    Examples:
        >>> from vgg_models import load_model
        >>> checkpoint = load_model("slim_vgg.pth").checkpoint
        >>> checkpoint.kind, checkpoint.bytes
        ('state dict', 1763405)
    """

    kind: CheckpointKind
    sha256: str | None = None
    bytes: int | None = None
    averaged: bool = False
    notes: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def with_remarks(self, *remarks: str) -> CheckpointInfo:
        """Return a copy with further notes and remarks."""
        return replace(self, notes=(*self.notes, *remarks), remarks=(*self.remarks, *remarks))

    def __post_init__(self) -> None:
        if self.kind not in get_args(CheckpointKind):
            raise ValueError(f"kind must be one of {get_args(CheckpointKind)}, got {self.kind!r}")
        if (self.sha256 is None) != (self.bytes is None):
            raise ValueError("a file has both a checksum and a size; without a file, both are None")


@dataclass(frozen=True)
class LoadedModel:
    """A classifier in eval mode: float32, on the CPU, no gradients.

    Attributes:
        module: takes float32 (N, input_channels, height, width), gives float32 (N, num_classes).
        input_size: (height, width) in pixels.
        metadata: what the checkpoint states about itself; the remarks of ``checkpoint`` say what was used.

    Examples:
        >>> from vgg_models import load_model
        >>> loaded = load_model("slim_vgg.pth")
        >>> loaded.input_channels, loaded.input_size, loaded.num_classes
        (1, (28, 28), 10)
        >>> loaded.module.training
        False
    """

    module: nn.Module
    architecture: Architecture
    checkpoint: CheckpointInfo
    input_channels: int
    input_size: tuple[int, int]
    num_classes: int
    metadata: CheckpointMetadata = field(default_factory=CheckpointMetadata)

    def __post_init__(self) -> None:
        numbers = (self.input_channels, *self.input_size, self.num_classes)
        if min(numbers) < 1:
            raise ValueError(f"channels, height, width and classes must be at least 1, got {numbers}")
        if self.module.training:
            raise ValueError("the module must be in eval mode")


Size = tuple[int, int]


@dataclass(frozen=True)
class LoadRequest:
    """The arguments of load_model except for the source."""

    model: str | None
    input_size: Size | None
    fallback_input_size: Size | None
    input_channels: int | None
    num_classes: int | None
    seed: int
    attribute_order: bool


@dataclass(frozen=True)
class BuiltModel:
    """A module with its weights.

    Attributes:
        input_channels, input_size: None if they have to be found by trying the module.
    """

    module: nn.Module
    architecture: Architecture
    checkpoint: CheckpointInfo
    input_channels: int | None = None
    input_size: Size | None = None
