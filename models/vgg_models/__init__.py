"""Architectures, checkpoint reading, and recognition of an architecture from a checkpoint's keys and shapes.

``load_model`` is the way in. Importing this package does not import torch; the first use of a name below does.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vgg_models.architectures.names import MODEL_NAMES
    from vgg_models.layer_costs import LayerRow, LayerTable, layer_table
    from vgg_models.loaded_model import CheckpointInfo, LoadedModel
    from vgg_models.loading import load_model

    __version__: str

__all__ = [
    "MODEL_NAMES",
    "CheckpointInfo",
    "LayerRow",
    "LayerTable",
    "LoadedModel",
    "__version__",
    "layer_table",
    "load_model",
]

_DEFINED_IN = {
    "MODEL_NAMES": "vgg_models.architectures.names",
    "CheckpointInfo": "vgg_models.loaded_model",
    "LayerRow": "vgg_models.layer_costs",
    "LayerTable": "vgg_models.layer_costs",
    "LoadedModel": "vgg_models.loaded_model",
    "layer_table": "vgg_models.layer_costs",
    "load_model": "vgg_models.loading",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("vgg_runtime.version").distribution_version()
    if name not in _DEFINED_IN:
        raise AttributeError(f"module 'vgg_models' has no attribute {name!r}")
    return getattr(import_module(_DEFINED_IN[name]), name)
