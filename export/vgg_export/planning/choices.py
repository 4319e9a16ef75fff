"""The words that options accept, separate from the tables that define them.

Those tables import torch and onnx, which help, completion and checks of arguments do not need. A test compares the two.
"""

from __future__ import annotations

from typing import Final

__all__ = ["CALIBRATION_METHODS", "MODELS", "QUANTIZATIONS"]

# vgg_export.variants.registry.VARIANTS
QUANTIZATIONS: Final = ("fp16", "dynamic", "static", "int8-weights", "int4-weights")

# vgg_calibration.ranges.methods.METHODS
CALIBRATION_METHODS: Final = ("minmax", "percentile", "entropy", "mse")

# vgg_models.architectures.zoo.MODEL_NAMES
MODELS: Final = (
    "vgg11",
    "vgg11_bn",
    "vgg11-lrn",
    "vgg11-lrn_bn",
    "vgg11-lrn-k1",
    "vgg11-lrn-k1_bn",
    "vgg13",
    "vgg13_bn",
    "vgg16-1x1",
    "vgg16-1x1_bn",
    "vgg16",
    "vgg16_bn",
    "vgg19",
    "vgg19_bn",
    "lenet",
    "lenet-maxpool",
    "lenet-cifar",
    "mnist-cnn",
    "mnist-mlp",
    "mlp-512",
    "cifar10-quick",
    "cifar10-quick-3",
    "cifar10-quick-relu",
    "cifar10-quick-relu-end",
    "cifar-vgg-wide",
    "cifar-deep-bn",
)
