"""The table: what people train from the lessons, how they save it, and how they export it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from lesson_images import IMAGENET_STATISTICS_AT_32, PERMUTED_MNIST, Images, Pixels, photographs, plain, preset
from lesson_networks import (
    CONFIGURATIONS,
    MLP,
    Attributes,
    CifarLeNet,
    CifarVGG,
    FlowerVGG,
    FullyConnected,
    LeNet,
    MnistCNN,
    OneSequential,
    PaperVGG,
    ResidualNet,
    WideVGG,
    deep_batch_norm,
    quick_features,
    relu_head,
    settled,
    vgg_layers,
)
from lesson_training import trained
from torch import nn

from vgg_models._torchvision import import_torchvision
from vgg_models.architectures.random_weights import build_random

__all__ = ["Row", "lesson_rows"]


@dataclass(frozen=True)
class Row:
    """One network, saved in one way.

    Attributes:
        number: of the lesson.
        make: gives the owner's module with its weights, in eval mode.
        saved: one of SAVED_AS.
        pixels: what the owner's training did to images.
        parameters: of the network, where the lesson states them.
        options: of export(), beside those for preprocessing and labels.
        images: what it is run on.
        large: of hundreds of megabytes, or slow: tests export ONNX alone.
        trained: on real digits, so that its accuracy says something.
        commands: exported and run by the commands, as a person does it.
    """

    number: int
    network: str
    make: Callable[[], nn.Module]
    saved: str
    pixels: Pixels
    parameters: int | None = None
    options: dict[str, Any] = field(default_factory=dict)
    images: Images = "photographs"
    large: bool = False
    trained: bool = False
    commands: bool = False

    def __str__(self) -> str:
        return f"{self.number}: {self.network}, {self.saved}{self.said and ', '}{self.said}"

    @property
    def said(self) -> str:
        """What the owner has to tell vgg-export about the network, as options of the command."""
        words = []
        for name, value in self.options.items():
            words.append(f"--{name.replace('_', '-')}{'' if value is True else f' {value}'}")
        return " ".join(words)


def lesson_rows(*, small: bool = False) -> tuple[Row, ...]:
    """Return the table.

    Args:
        small: the paper's VGGs take images of 64 pixels instead of 224, torchvision's vgg16 is narrow, training is
            brief, and the two networks of torchvision that take longest are left out. VGG D with 1000 classes stays as
            it is.
    """
    side = 64 if small else 224
    vggs = (*_paper_vggs(side), *_flower_vggs(side), *_changed_vggs(narrow=small))
    classifiers = (row for row in TORCHVISION if not (small and row.network in SLOW_CLASSIFIERS))
    rows = (*vggs, *FOR_CIFAR, *FOR_MNIST, *classifiers, *LOOPS)
    return tuple(_briefly_trained(row) if small and row.trained else row for row in rows)


def _briefly_trained(row: Row) -> Row:
    briefly = (
        {"images": 200, "epochs": 2, "batch": 8} if row.number == 9 else {"images": 1000, "epochs": 3, "batch": 16}
    )
    return replace(row, make=partial(row.make, **briefly))


def _seeded(network: Callable[[], nn.Module]) -> nn.Module:
    with torch.device("meta"):
        module = network()
    return settled(module.to_empty(device="cpu"))


def _row(number: int, network: str, make: Callable[[], nn.Module], saved: str, pixels: Pixels, **more: Any) -> Row:
    return Row(number, network, partial(_seeded, make), saved, pixels, **more)


# 1, 2: the paper's VGGs, both heads -----------------------------------------------------------------------------------


def _sized(side: int) -> dict[str, Any]:
    return {} if side == 224 else {"input_size": side}


def _paper_vggs(side: int) -> Iterable[Row]:
    for letter in ("A", "A-LRN", "B", "C", "E"):
        make = partial(PaperVGG, letter, 7, side)
        pixels = preset("imagenet", side)
        options = _sized(side) | ({"model": "vgg11-lrn"} if letter == "A-LRN" else {})
        yield _row(1, f"VGG {letter}, 7 classes", make, "state dict", pixels, options=options, large=True)
    make = partial(PaperVGG, "D", 1000)
    pixels = preset("imagenet", 224)
    yield _row(1, "VGG D, 1000 classes", make, "state dict", pixels, parameters=138_357_544, large=True)


def _flower_vggs(side: int) -> Iterable[Row]:
    stated = {"D": 134_281_029} if side == 224 else {}
    for letter, layers in (("A", 11), ("B", 13), ("E", 19), ("D", 16)):
        make = partial(FlowerVGG, letter, 5, side)
        more = {"parameters": stated.get(letter), "options": _sized(side), "large": True}
        yield _row(2, f"VGG-{layers}, flowers", make, "state dict", preset("half", side), **more)


# 3: torchvision's vgg16, changed --------------------------------------------------------------------------------------


def _vgg16(narrow: bool) -> nn.Module:
    module = import_torchvision().models.vgg16(weights=None)
    if narrow:
        widths = tuple("M" if entry == "M" else 8 for entry in CONFIGURATIONS["D"])
        module.features = nn.Sequential(*vgg_layers(widths))
        for index, (inputs, outputs) in {0: (8 * 7 * 7, 32), 3: (32, 32), 6: (32, 1000)}.items():
            module.classifier[index] = nn.Linear(inputs, outputs)
    return module


def _replaced(narrow: bool) -> nn.Module:
    module = _vgg16(narrow)
    module.classifier[6] = nn.Linear(module.classifier[6].in_features, 10)
    return module


def _added(narrow: bool) -> nn.Module:
    module = _vgg16(narrow)
    module.classifier.add_module("add_linear", nn.Linear(1000, 10))
    return module


def _changed_vggs(*, narrow: bool) -> Iterable[Row]:
    pixels = preset("imagenet", 224)
    yield _row(3, "vgg16, last layer replaced", partial(_replaced, narrow), "state dict", pixels, large=True)
    yield _row(3, "vgg16, layer added", partial(_added, narrow), "whole module", pixels, large=True)


# 4 to 9, 13, 14: CIFAR-10 ---------------------------------------------------------------------------------------------


def _quick() -> nn.Module:
    return OneSequential(*quick_features(), nn.Linear(1024, 64), nn.Linear(64, 10))


def _quick_3() -> nn.Module:
    return OneSequential(*quick_features(), nn.Linear(1024, 256), nn.Linear(256, 64), nn.Linear(64, 10))


def _quick_relu_end() -> nn.Module:
    return OneSequential(*quick_features(), *relu_head(last=True))


def _deep_batch_norm() -> nn.Module:
    return OneSequential(*deep_batch_norm())


RGB_32 = plain(32, "RGB")
_trained_quick = partial(trained, _quick, RGB_32, "digits RGBA", images=2000, epochs=4)
_trained_residual = partial(trained, ResidualNet, RGB_32, "digits RGB", images=500, epochs=2, batch=16)
_residual = partial(
    Row,
    9,
    "residual net",
    _trained_residual,
    pixels=RGB_32,
    options={"model": "lesson_networks:ResidualNet"},
    images="digits RGB",
    trained=True,
)

FOR_CIFAR = (
    *(
        Row(4, "CIFAR-10 quick net", _trained_quick, saved, RGB_32, images="digits RGBA", trained=True, commands=whole)
        for saved, whole in (("whole module on CUDA", True), ("state dict", False))
    ),
    _row(5, "quick net, 3 Linear", _quick_3, "state dict", IMAGENET_STATISTICS_AT_32),
    _row(
        *(5, "quick net, ReLU at the end", _quick_relu_end, "state dict", IMAGENET_STATISTICS_AT_32),
        options={"model": "cifar10-quick-relu-end"},
    ),
    _row(5, "quick net, ReLU at the end", _quick_relu_end, "whole module", IMAGENET_STATISTICS_AT_32),
    _row(6, "quick net, attributes", Attributes, "whole module", RGB_32, options={"attribute_order": True}),
    _row(6, "quick net, attributes", Attributes, "state dict", RGB_32, options={"model": "cifar10-quick"}),
    _row(
        *(6, "quick net, attributes", Attributes, "state dict", RGB_32),
        options={"model": "lesson_networks:Attributes"},
        commands=True,
    ),
    _row(7, "wide CIFAR VGG", WideVGG, "state dict", preset("cifar10", 32)),
    _row(7, "wide CIFAR VGG", WideVGG, "safetensors", preset("cifar10", 32)),
    _row(8, "deep BN net", _deep_batch_norm, "state dict", preset("half", 32)),
    _row(8, "deep BN net", _deep_batch_norm, "whole module", preset("half", 32)),
    _residual(saved="whole module"),
    _residual(saved="state dict"),
    _row(13, "CIFAR LeNet", CifarLeNet, "state dict", preset("half", 32)),
    _row(14, "CIFAR VGG-11 with BatchNorm", CifarVGG, "state dict", preset("cifar10", 32)),
)

# 10, 11, 12, 15, 16: MNIST --------------------------------------------------------------------------------------------

MNIST, GREY = preset("mnist", 28), plain(28, "L")


def _digits(
    number: int, name: str, network: type[nn.Module], saved: str, pixels: Pixels, epochs: int, **more: Any
) -> Row:
    make = partial(trained, network, pixels, "digits L", images=4000, epochs=epochs)
    return Row(number, name, make, saved, pixels, images="digits L", trained=True, **more)


FOR_MNIST = (
    _digits(10, "MNIST fully connected net", FullyConnected, "state dict", MNIST, 12, parameters=6442),
    _digits(11, "MNIST CNN", MnistCNN, "state dict", MNIST, 6, parameters=6422),
    _digits(11, "MNIST CNN", MnistCNN, "whole module", MNIST, 6, parameters=6422),
    _digits(12, "MNIST CNN, permuted", MnistCNN, "state dict", PERMUTED_MNIST, 6, parameters=6422, commands=True),
    _digits(15, "LeNet, average pooling", LeNet, "state dict", GREY, 4, parameters=44_426),
    *(_row(16, "MLP", MLP, saved, GREY, parameters=669_706, images="digits L")
      for saved in ("state dict", "whole module")),
)  # fmt: skip

# 17: torchvision's classifiers ----------------------------------------------------------------------------------------

CLASSIFIERS = (
    *("resnet18", "mobilenet_v3_small", "efficientnet_b0", "squeezenet1_1", "densenet121"),
    *("shufflenet_v2_x1_0", "regnet_y_400mf", "convnext_tiny", "vit_b_16"),
)
SLOW_CLASSIFIERS = ("densenet121", "vit_b_16")


def _classifier(name: str) -> nn.Module:
    build = partial(import_torchvision().models.get_model, name, weights=None)
    module = build_random(build, seed=0, input_channels=3, input_size=(224, 224), kaiming=False)
    _soften(module)
    return module


def _soften(module: nn.Module) -> None:
    """Untrained residual networks may be certain of one class for any photograph: scale the logits to say more."""
    *_, head = (layer for layer in module.modules() if isinstance(layer, (nn.Linear, nn.Conv2d)))
    with torch.no_grad():
        deviation = module(preset("imagenet", 224)(photographs()[:3])).std()
        for parameter in head.parameters():
            parameter.div_(deviation)


TORCHVISION = tuple(
    Row(
        *(17, name, partial(_classifier, name), "state dict", preset("imagenet", 224)),
        options={"model": f"torchvision:{name}"},
        large=True,
    )
    for name in CLASSIFIERS
)

# 18: checkpoints of a training loop -----------------------------------------------------------------------------------

LOOPS = tuple(
    _row(18, "CIFAR LeNet", CifarLeNet, saved, preset("half", 32))
    for saved in ("training loop", "Lightning", "DataParallel", "EMA beside", "compiled")
)
