"""The names of this project's own architectures."""

from __future__ import annotations

from typing import Final

from vgg_models.architectures.known_models import KNOWN_MODELS
from vgg_models.architectures.paper_table import VGG_NAMES

__all__ = ["MODEL_NAMES"]

MODEL_NAMES: Final[tuple[str, ...]] = (*VGG_NAMES, *KNOWN_MODELS)
