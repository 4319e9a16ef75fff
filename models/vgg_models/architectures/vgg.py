"""VGG in all its forms, with torchvision's key names: ``features.N``, ``classifier.N``."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from vgg_models.architectures.paper_table import Configuration

__all__ = ["VGG", "make_features"]


class VGG(nn.Module):
    """Features, an optional pool to a fixed size, and a classifier.

    Args:
        features: float32 (N, channels, height, width) to (N, C, h, w).
        classifier: takes (N, C * h * w), gives (N, num_classes).
        pooled_size: (h, w) for an AdaptiveAvgPool2d between the two, as torchvision's VGGs have it; None where the
            features come out at the size that the classifier wants.
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
        bias: of the convolutions.
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

    torch divides alpha by n, as Caffe did, in which the VGGs were trained.
    """
    return nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=k)


def feature_map_size(features: nn.Module, input_channels: int, input_size: tuple[int, int]) -> tuple[int, int]:
    """Return (height, width) of what the features give for an input of ``input_size``; (0, 0) where it is too small.

    Args:
        features: on the meta device: nothing is computed.
    """
    try:
        with torch.inference_mode():
            height, width = features.eval()(torch.empty(1, input_channels, *input_size, device="meta")).shape[-2:]
    except RuntimeError:
        return (0, 0)
    return (height, width)
