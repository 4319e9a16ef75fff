"""The architecture that a checkpoint names, if it is one that can be built."""

from __future__ import annotations

from vgg_models.architectures.torchvision import PREFIX, torchvision_names
from vgg_models.architectures.zoo import MODEL_NAMES
from vgg_models.metadata import CheckpointMetadata, Statement, sole_statement
from vgg_runtime.errors import MissingCapabilityError

__all__ = ["stated_architecture"]


def stated_architecture(metadata: CheckpointMetadata) -> tuple[Statement[str] | None, tuple[str, ...]]:
    """Return the name as ``--model`` takes it, and a remark if the checkpoint names several.

    A name that is neither ours nor torchvision's, such as that of an experiment, is ignored.
    """
    named = [(_model(statement.value), statement.source) for statement in metadata.architectures]
    return sole_statement("architecture", [Statement(model, source) for model, source in named if model is not None])


def _model(name: str) -> str | None:
    if name in MODEL_NAMES:
        return name
    try:
        return f"{PREFIX}{name}" if name in torchvision_names() else None
    except MissingCapabilityError:  # without torchvision its networks cannot be built
        return None
