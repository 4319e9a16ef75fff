"""Modules that come from a name and no file: ``random:NAME``, ``torchvision:NAME``."""

from __future__ import annotations

from difflib import get_close_matches
from functools import partial

from vgg_models.architectures.known_models import KNOWN_MODELS
from vgg_models.architectures.named_vgg import build_vgg
from vgg_models.architectures.names import MODEL_NAMES
from vgg_models.architectures.paper_table import VGG_NAMES, describe
from vgg_models.architectures.random_weights import build_random
from vgg_models.architectures.torchvision_models import (
    PREFIX,
    build_torchvision,
    default_input_size,
    fetch_pretrained,
    torchvision_info,
    torchvision_names,
)
from vgg_models.loaded_model import CheckpointInfo
from vgg_models.request import Built, Request
from vgg_runtime.errors import UsageError
from vgg_runtime.manifest import Architecture

__all__ = ["pretrained_model", "random_model"]

_CLASSES = 1000


def random_model(name: str, request: Request) -> Built:
    """Build one of MODEL_NAMES, or one of torchvision's classifiers, with seeded weights.

    Raises:
        UsageError: there is no such name.
        ArchitectureError: the images are too small.
    """
    checkpoint = CheckpointInfo("random", notes=(f"random weights of seed {request.seed}: for size and speed only",))
    if name in VGG_NAMES:
        return _random_vgg(name, request, checkpoint)
    if name in KNOWN_MODELS:
        return _random_known(name, request, checkpoint)
    name = name.removeprefix(PREFIX)
    if name not in torchvision_names():
        close = get_close_matches(name, (*MODEL_NAMES, *torchvision_names()), n=5)
        raise UsageError(
            f"there is no architecture called {name!r}.",
            hint=f"Close to it are {', '.join(close)}."
            if close
            else f"Ours are {', '.join(MODEL_NAMES)}. Others: any of torchvision's classifiers, by its name.",
        )
    size = request.input_size or default_input_size(name)
    build = partial(build_torchvision, name, num_classes=request.num_classes)
    module = build_random(build, seed=request.seed, input_channels=3, input_size=size, kaiming=False)
    return Built(module, torchvision_info(name), checkpoint, 3, size)


def _random_vgg(name: str, request: Request, checkpoint: CheckpointInfo) -> Built:
    channels, size = request.input_channels or 3, request.input_size or (224, 224)
    classes = request.num_classes or _CLASSES
    build = partial(build_vgg, name, num_classes=classes, input_channels=channels, input_size=size)
    module = build_random(build, seed=request.seed, input_channels=channels, input_size=size, kaiming=True)
    return Built(module, Architecture(name, describe(name), "named"), checkpoint, channels, size)


def _random_known(name: str, request: Request, checkpoint: CheckpointInfo) -> Built:
    known = KNOWN_MODELS[name]
    channels, *size = known.input_shape
    build = partial(known.build, request.num_classes or known.num_classes)
    shape = (size[0], size[1])
    module = build_random(build, seed=request.seed, input_channels=channels, input_size=shape, kaiming=True)
    return Built(module, Architecture(name, known.description, "named"), checkpoint, channels, shape)


def pretrained_model(name: str, request: Request) -> Built:
    """Return one of torchvision's classifiers with the weights that torchvision publishes.

    Raises:
        UsageError: there is no such name.
        CheckpointError: the weights can't be fetched.
    """
    module, weights = fetch_pretrained(name)
    size = request.input_size or default_input_size(name)
    return Built(module, torchvision_info(name), CheckpointInfo("torchvision", notes=(weights,)), 3, size)
