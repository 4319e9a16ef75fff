"""Networks from well-known tutorials, for checkpoints whose keys do not show what lies between the layers.

Each is written as a row of layers, and matches every checkpoint with these layers in this order, whatever their names.
To add one, add a function and a line in the table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from torch import nn

from vgg_models.architectures.vgg import VGG_NAMES, Configuration, make_features

__all__ = ["KNOWN_MODELS", "MODEL_NAMES", "KnownModel"]


@dataclass(frozen=True)
class KnownModel:
    """A network that is recognised by its layers.

    Attributes:
        build: maps the number of classes to the layers in order.
        input_shape: (channels, height, width) of the images.
        assumptions: what other networks with the same keys may do otherwise.
        num_classes: the number in the tutorial.
        shown_by_indices: recognised only if its layers have indices, which show that nothing (no activation) comes in
            between; a ``forward`` may call functions there.
        by_name_only: used only by name, because another model with the same keys is more common.
    """

    description: str
    build: Callable[[int], nn.Sequential]
    input_shape: tuple[int, int, int]
    assumptions: tuple[str, ...]
    num_classes: int = 10
    shown_by_indices: bool = False
    by_name_only: bool = False


def _lenet(channels: int, side: int, pool: type[nn.AvgPool2d] | type[nn.MaxPool2d]) -> Callable[[int], nn.Sequential]:
    def build(num_classes: int) -> nn.Sequential:
        return nn.Sequential(
            *(nn.Conv2d(channels, 6, 5), nn.ReLU(), pool(2)),
            *(nn.Conv2d(6, 16, 5), nn.ReLU(), pool(2), nn.Flatten()),
            *(nn.Linear(16 * side * side, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, num_classes)),
        )

    return build


def _mnist_cnn(num_classes: int) -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(96, 50), nn.ReLU(), nn.Linear(50, num_classes), nn.LogSoftmax(dim=1)),
    )


def _mnist_mlp(num_classes: int) -> nn.Sequential:
    return nn.Sequential(
        *(nn.Flatten(), nn.Linear(784, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU()),
        *(nn.Linear(8, num_classes), nn.LogSoftmax(dim=1)),
    )


def _mlp(num_classes: int) -> nn.Sequential:
    return nn.Sequential(
        *(
            nn.Flatten(),
            nn.Linear(784, 512),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Linear(512, 512),
            nn.ReLU(),
            nn.Dropout(0.2),
        ),
        nn.Linear(512, num_classes),
    )


def _quick(*head: Callable[[int], nn.Module]) -> Callable[[int], nn.Sequential]:
    """Three 5x5 convolutions, each with a max pool and without a ReLU."""

    def build(num_classes: int) -> nn.Sequential:
        convolutions = [nn.Conv2d(channels, width, 5, padding=2) for channels, width in ((3, 32), (32, 32), (32, 64))]
        features = [layer for convolution in convolutions for layer in (convolution, nn.MaxPool2d(2))]
        return nn.Sequential(*features, nn.Flatten(), *(make(num_classes) for make in head))

    return build


def _linear(in_features: int, out_features: int | None = None) -> Callable[[int], nn.Module]:
    """A Linear layer; without a width it gives the classes."""
    return lambda num_classes: nn.Linear(in_features, out_features or num_classes)


def _relu(num_classes: int) -> nn.Module:
    return nn.ReLU()


def _dropout(num_classes: int) -> nn.Module:
    return nn.Dropout(0.4)


_WIDE: Configuration = (96, 96, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M")


def _wide_vgg(num_classes: int) -> nn.Sequential:
    return nn.Sequential(
        *make_features(_WIDE, batch_norm=True),
        *(nn.Flatten(), nn.Linear(512, 4096), nn.ReLU(), nn.Dropout(0.4)),
        *(nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(0.4), nn.Linear(4096, num_classes)),
    )


def _deep_batch_norm(num_classes: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels, width in ((3, 64), (64, 128), (128, 256), (256, 512)):
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width)]
        layers += [nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2)]
    head = (nn.Flatten(), nn.Linear(2048, 256), nn.Linear(256, 64), nn.Linear(64, num_classes))
    return nn.Sequential(*layers, *head)


_QUICK_HEAD = (_linear(1024, 256), _relu, _dropout, _linear(256, 64), _relu, _dropout, _linear(64))
_NO_RELU = "no activation follows a convolution, and the pools are max pools"
_RELU_AND_MAX_POOL = "a ReLU and a max pool follow each convolution, a ReLU each Linear but the last"
_LOG_SOFTMAX = "a LogSoftmax is the last layer (without it the probabilities are the same)"

KNOWN_MODELS: Final[dict[str, KnownModel]] = {
    "lenet": KnownModel(
        "LeNet with average pooling",
        _lenet(1, 4, nn.AvgPool2d),
        (1, 28, 28),
        (
            "a ReLU and an average pool follow each convolution, a ReLU each Linear but the last",
            "max pools would leave the same keys: if yours has them, give `model='lenet-maxpool'`",
        ),
    ),
    "lenet-maxpool": KnownModel(
        "LeNet with max pooling", _lenet(1, 4, nn.MaxPool2d), (1, 28, 28), (_RELU_AND_MAX_POOL,), by_name_only=True
    ),
    "lenet-cifar": KnownModel("LeNet for CIFAR-10", _lenet(3, 5, nn.MaxPool2d), (3, 32, 32), (_RELU_AND_MAX_POOL,)),
    "mnist-cnn": KnownModel("a small CNN for MNIST", _mnist_cnn, (1, 28, 28), (_RELU_AND_MAX_POOL, _LOG_SOFTMAX)),
    "mnist-mlp": KnownModel(
        "a small fully connected net for MNIST",
        _mnist_mlp,
        (1, 28, 28),
        ("a ReLU follows each Linear but the last", _LOG_SOFTMAX),
    ),
    "mlp-512": KnownModel(
        "a fully connected net of 512 and 512", _mlp, (1, 28, 28), ("a ReLU follows each Linear but the last",)
    ),
    "cifar10-quick": KnownModel(
        "the CIFAR-10 quick net",
        _quick(_linear(1024, 64), _linear(64)),
        (3, 32, 32),
        (_NO_RELU,),
        shown_by_indices=True,
    ),
    "cifar10-quick-3": KnownModel(
        "the CIFAR-10 quick net with three Linear layers",
        _quick(_linear(1024, 256), _linear(256, 64), _linear(64)),
        (3, 32, 32),
        (_NO_RELU,),
        shown_by_indices=True,
    ),
    # The two differ only after the last Linear, which leaves no trace in the keys: both are listed, and the user
    # chooses.
    "cifar10-quick-relu": KnownModel(
        "the CIFAR-10 quick net with ReLU and Dropout between its Linear layers",
        _quick(*_QUICK_HEAD),
        (3, 32, 32),
        (_NO_RELU,),
        shown_by_indices=True,
    ),
    "cifar10-quick-relu-end": KnownModel(
        "the CIFAR-10 quick net with ReLU and Dropout after every Linear layer",
        _quick(*_QUICK_HEAD, _relu, _dropout),
        (3, 32, 32),
        (_NO_RELU, "a ReLU and a Dropout follow the last Linear too"),
        shown_by_indices=True,
    ),
    "cifar-vgg-wide": KnownModel(
        "a wide VGG for CIFAR-10 with BatchNorm",
        _wide_vgg,
        (3, 32, 32),
        ("a ReLU follows each BatchNorm, and each Linear but the last", "the pools are max pools"),
    ),
    "cifar-deep-bn": KnownModel(
        "four blocks of two convolutions with BatchNorm",
        _deep_batch_norm,
        (3, 32, 32),
        ("a ReLU and a max pool end each block; there is no other activation", "3x3 convolutions have padding 1"),
    ),
}

MODEL_NAMES: Final[tuple[str, ...]] = (*VGG_NAMES, *KNOWN_MODELS)
