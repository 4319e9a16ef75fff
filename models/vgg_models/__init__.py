"""Architectures, checkpoint reading, and recognition of an architecture from a checkpoint's keys and shapes.

Start with ``load_model``. Importing this package does not import torch; the first use of a name below does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vgg_runtime._internal.lazy import lazy_names

if TYPE_CHECKING:
    from vgg_models.architectures.zoo import MODEL_NAMES
    from vgg_models.compression.distillation import Distillation, Fidelity, distill
    from vgg_models.compression.low_rank import LowRankNetwork
    from vgg_models.costs import LayerRow, LayerTable, layer_table
    from vgg_models.loading import load_model
    from vgg_models.types import CheckpointInfo, LoadedModel

    __version__: str

__all__ = [
    "MODEL_NAMES",
    "CheckpointInfo",
    "Distillation",
    "Fidelity",
    "LayerRow",
    "LayerTable",
    "LoadedModel",
    "LowRankNetwork",
    "__version__",
    "distill",
    "layer_table",
    "load_model",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "MODEL_NAMES": "vgg_models.architectures.zoo",
        "CheckpointInfo": "vgg_models.types",
        "Distillation": "vgg_models.compression.distillation",
        "Fidelity": "vgg_models.compression.distillation",
        "LayerRow": "vgg_models.costs",
        "LayerTable": "vgg_models.costs",
        "LoadedModel": "vgg_models.types",
        "LowRankNetwork": "vgg_models.compression.low_rank",
        "distill": "vgg_models.compression.distillation",
        "layer_table": "vgg_models.costs",
        "load_model": "vgg_models.loading",
    },
)
