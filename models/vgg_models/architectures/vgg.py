"""The VGG paper's table of configurations, with the names that this project uses.

Simonyan and Zisserman, Very Deep Convolutional Networks for Large-Scale Image Recognition (2014), table 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

import torch
from torch import Tensor, nn

from vgg_models.architectures.head import make_head, paper_head
from vgg_runtime.errors import ArchitectureError

__all__ = [
    "CONFIGURATIONS",
    "VGG",
    "VGG_NAMES",
    "Configuration",
    "Entry",
    "build_vgg",
    "configuration_of",
    "describe",
    "make_features",
    "name_of",
]


# An int is a 3x3 convolution with that many channels, (channels, 1) a 1x1 convolution; a ReLU follows each.
# "M" is a 2x2 max pool; "LRN" a local response normalization with the AlexNet paper's k = 2, "LRN-k1" with the k = 1
# that is PyTorch's default.
Entry = int | tuple[int, Literal[1]] | Literal["M", "LRN", "LRN-k1"]
Configuration = tuple[Entry, ...]

CONFIGURATIONS: Final[dict[str, Configuration]] = {
    "vgg11": (64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"),
    "vgg11-lrn": (64, "LRN", "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"),
    "vgg11-lrn-k1": (64, "LRN-k1", "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"),
    "vgg13": (64, 64, "M", 128, 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"),
    "vgg16-1x1": (
        *(64, 64, "M", 128, 128, "M"),
        *(256, 256, (256, 1), "M", 512, 512, (512, 1), "M", 512, 512, (512, 1), "M"),
    ),
    "vgg16": (64, 64, "M", 128, 128, "M", *(256,) * 3, "M", *(512,) * 3, "M", *(512,) * 3, "M"),
    "vgg19": (64, 64, "M", 128, 128, "M", *(256,) * 4, "M", *(512,) * 4, "M", *(512,) * 4, "M"),
}

_BATCH_NORM = "_bn"
VGG_NAMES: Final[tuple[str, ...]] = tuple(f"{name}{suffix}" for name in CONFIGURATIONS for suffix in ("", _BATCH_NORM))

# The columns of the paper's table, for messages.
_COLUMNS = {
    "vgg11": "A",
    "vgg11-lrn": "A-LRN",
    "vgg11-lrn-k1": "A-LRN with PyTorch's k = 1",
    "vgg13": "B",
    "vgg16-1x1": "C",
    "vgg16": "D",
    "vgg19": "E",
}


def configuration_of(name: str) -> tuple[Configuration, bool]:
    """Return the configuration of one of VGG_NAMES, and whether it has BatchNorm."""
    return CONFIGURATIONS[name.removesuffix(_BATCH_NORM)], name.endswith(_BATCH_NORM)


def name_of(configuration: Configuration, *, batch_norm: bool) -> str | None:
    """Return the name of a configuration in the table, or None."""
    for name, entries in CONFIGURATIONS.items():
        if entries == configuration:
            return name + _BATCH_NORM * batch_norm
    return None


def describe(name: str) -> str:
    """One line of description, such as ``VGG-16 (the paper's configuration D) with BatchNorm``."""
    base = name.removesuffix(_BATCH_NORM)
    depth = base.removeprefix("vgg").partition("-")[0]
    return f"VGG-{depth} (the paper's configuration {_COLUMNS[base]})" + " with BatchNorm" * (base != name)


class VGG(nn.Module):
    """A network of features, an optional pool to a fixed size, and a classifier.

    Args:
        features: float32 (N, channels, height, width) to (N, C, h, w).
        classifier: (N, C * h * w) to (N, num_classes).
        pooled_size: (h, w) for an AdaptiveAvgPool2d between the two, as torchvision's VGGs have it; None if the
            features come out at the size that the classifier takes.
    """

    def __init__(
        self, features: nn.Module, classifier: nn.Module, *, pooled_size: tuple[int, int] | None = None
    ) -> None:
        super().__init__()
        self.features = features
        if pooled_size is not None:
            self.avgpool = nn.AdaptiveAvgPool2d(pooled_size)
        self.flatten = nn.Flatten()
        self.classifier = classifier

    def forward(self, images: Tensor) -> Tensor:
        """Return scores (batch, classes) of images (batch, channels, height, width)."""
        features = self.features(images)
        if hasattr(self, "avgpool"):
            features = self.avgpool(features)
        logits: Tensor = self.classifier(self.flatten(features))
        return logits


def make_features(
    configuration: Configuration, *, input_channels: int = 3, batch_norm: bool = False, bias: bool = True
) -> nn.Sequential:
    """Build the convolutional part.

    Args:
        configuration: see paper_table.Entry.
        batch_norm: put a BatchNorm2d between each convolution and its ReLU.
        bias: whether the convolutions have biases.
    """
    layers: list[nn.Module] = []
    channels = input_channels
    for entry in configuration:
        if entry == "M":
            layers.append(nn.MaxPool2d(kernel_size=2, stride=2))
        elif entry in ("LRN", "LRN-k1"):
            layers.append(local_response_norm(k=1.0 if entry == "LRN-k1" else 2.0))
        else:
            width, kernel = entry if isinstance(entry, tuple) else (int(entry), 3)
            layers.extend(_convolution(channels, width, kernel, batch_norm=batch_norm, bias=bias))
            channels = width
    return nn.Sequential(*layers)


def _convolution(channels: int, width: int, kernel: int, *, batch_norm: bool, bias: bool) -> Iterator[nn.Module]:
    yield nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=bias)
    if batch_norm:
        yield nn.BatchNorm2d(width)
    yield nn.ReLU(inplace=True)


def local_response_norm(*, k: float) -> nn.LocalResponseNorm:
    """Krizhevsky et al. (2012), section 3.3: n = 5, alpha = 1e-4, beta = 0.75, k = 2; all but k are torch's defaults.

    torch divides alpha by n, as did Caffe, with which the VGGs were trained.
    """
    return nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=k)


def feature_map_size(features: nn.Module, input_channels: int, input_size: tuple[int, int]) -> tuple[int, int]:
    """Return (height, width) of the output of the features for an input of ``input_size``; (0, 0) if it is too small.

    Args:
        features: on the meta device, so that nothing is computed.
    """
    try:
        with torch.inference_mode():
            height, width = features.eval()(torch.empty(1, input_channels, *input_size, device="meta")).shape[-2:]
    except RuntimeError:
        return (0, 0)
    return (height, width)


def build_vgg(
    name: str, *, num_classes: int = 1000, input_channels: int = 3, input_size: tuple[int, int] = (224, 224)
) -> VGG:
    """Build one of VGG_NAMES for images of ``input_size`` (height, width), with a head of matching size.

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
            hint=f"Give `input_size={2**pools}` or more.",
        )
    features = make_features(configuration, input_channels=input_channels, batch_norm=batch_norm)
    return VGG(features, make_head(paper_head(512 * height * width, num_classes)))
