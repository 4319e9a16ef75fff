"""``load_model``: from a checkpoint or a name to a module that is ready to export."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import get_args

import torch
from torch import nn

from vgg_models.architectures.random_weights import build_random
from vgg_models.architectures.torchvision import (
    PREFIX,
    build_torchvision,
    default_input_size,
    fetch_pretrained,
    torchvision_info,
    torchvision_names,
)
from vgg_models.architectures.torchvision import PREFIX as TORCHVISION
from vgg_models.architectures.vgg import VGG_NAMES, build_vgg, describe
from vgg_models.architectures.zoo import KNOWN_MODELS, MODEL_NAMES
from vgg_models.checkpoint.in_memory import checkpoint_in_memory
from vgg_models.checkpoint.reading import Checkpoint, read_checkpoint
from vgg_models.classifier_contract import check_scores
from vgg_models.from_checkpoint import build_from
from vgg_models.recognition.module_input import check_memory, find_module_input
from vgg_models.types import BuiltModel, CheckpointInfo, CheckpointSource, LoadedModel, LoadRequest, WeightsChoice
from vgg_runtime.bundle.manifest import Architecture
from vgg_runtime.errors import ArchitectureError, UsageError

__all__ = ["load_model", "pretrained_model", "random_model"]


_RANDOM = "random:"


def load_model(
    source: CheckpointSource,
    *,
    model: str | None = None,
    input_size: int | tuple[int, int] | None = None,
    fallback_input_size: tuple[int, int] | None = None,
    input_channels: int | None = None,
    num_classes: int | None = None,
    seed: int = 0,
    weights: WeightsChoice = "raw",
    allow_nonfinite: bool = False,
    attribute_order: bool = False,
) -> LoadedModel:
    """Load a checkpoint, or create a module by name.

    Args:
        source: the path of a checkpoint; ``torchvision:NAME`` for torchvision's own weights; ``random:NAME`` for
            seeded weights, NAME being one of MODEL_NAMES or one of torchvision's. Or an ``nn.Module``, of which a copy
            is made, or a state dict; neither is changed.
        model: the architecture: one of MODEL_NAMES, ``torchvision:NAME`` or ``MODULE:CALLABLE`` (the user's own
            code, which is imported; ``MODULE:CALLABLE(key=value)`` passes literal arguments). None recognises it from
            the checkpoint.
        input_size: pixels of a square image, or (height, width), if the checkpoint does not decide it.
        fallback_input_size: the same, but used only if nothing else decides.
        input_channels: number of channels, if the module does not decide it.
        num_classes: number of classes of ``random:NAME``; for a checkpoint, the number that it must have.
        seed: seed of ``random:NAME``.
        weights: "raw" or "ema", if the checkpoint holds both the weights and a running average of them.
        allow_nonfinite: accept NaN and infinite weights.
        attribute_order: run the children of a whole module one after another; this confirms that its ``forward`` does
            that.

    Returns:
        the module in eval mode, and what is known about it.

    Raises:
        UsageError: the name of the source or of the model is unknown.
        CheckpointError: the file is not a checkpoint, damaged, unsafe (UnsafeCheckpointError), or of an architecture
            that is unknown, ambiguous or does not fit (ArchitectureError).
        MissingCapabilityError: torchvision or safetensors is needed and not installed.

    Examples:
        >>> from vgg_models import load_model
        >>> load_model("slim_vgg.pth").architecture.description
        'a VGG of its own configuration, 1 input channel, 10 classes'
    """
    if weights not in get_args(WeightsChoice):
        raise UsageError(f"`weights` must be 'raw' or 'ema', got {weights!r}.")
    size = (input_size, input_size) if isinstance(input_size, int) else input_size
    request = LoadRequest(model, size, fallback_input_size, input_channels, num_classes, seed, attribute_order)
    if isinstance(source, nn.Module | Mapping):
        return _load_checkpoint(checkpoint_in_memory(source, weights=weights, allow_nonfinite=allow_nonfinite), request)
    if not isinstance(source, str | os.PathLike):
        raise UsageError(f"a checkpoint must be a path, an nn.Module or a state dict, got {type(source).__name__}.")
    name = os.fspath(source)
    if not name.startswith((_RANDOM, TORCHVISION)):
        return _load_checkpoint(
            read_checkpoint(Path(source), weights=weights, allow_nonfinite=allow_nonfinite), request
        )
    if model is not None:
        raise UsageError(f"{name} names its own architecture.", hint="Leave out `model`.")
    if weights == "ema":
        raise UsageError(f"{name} has no running average of its weights.", hint="Leave out `weights='ema'`.")
    if name.startswith(_RANDOM):
        return _to_loaded_model(random_model(name.removeprefix(_RANDOM), request), request)
    return _to_loaded_model(pretrained_model(name.removeprefix(TORCHVISION), request), request)


def _load_checkpoint(checkpoint: Checkpoint, request: LoadRequest) -> LoadedModel:
    loaded = _with_remarks(_at_stated_size(checkpoint, request), *checkpoint.metadata.remarks)
    return replace(loaded, metadata=checkpoint.metadata)


def _at_stated_size(checkpoint: Checkpoint, request: LoadRequest) -> LoadedModel:
    """Load it for the image size that the checkpoint states, unless the user states one or it does not fit."""
    size = checkpoint.metadata.input_size
    if size is None or request.input_size is not None:
        return _to_loaded_model(build_from(checkpoint, request), request)
    height, width = size.value
    try:
        at_that_size = replace(request, input_size=size.value)
        loaded = _to_loaded_model(build_from(checkpoint, at_that_size), at_that_size)
        return _with_remarks(loaded, f"input size: {height}x{width}, taken from {size.source}")
    except ArchitectureError:
        loaded = _to_loaded_model(build_from(checkpoint, request), request)
        return _with_remarks(loaded, f"input size: {size.source} is {height}x{width}, which the network doesn't take")


def _with_remarks(loaded: LoadedModel, *remarks: str) -> LoadedModel:
    return replace(loaded, checkpoint=loaded.checkpoint.with_remarks(*remarks))


def _to_loaded_model(built: BuiltModel, request: LoadRequest) -> LoadedModel:
    """Make the module ready to export, and check that it runs on a blank image."""
    module = built.module.eval().float().requires_grad_(False)
    channels, size, assumptions = find_module_input(
        module,
        input_channels=request.input_channels or built.input_channels,
        input_size=request.input_size or built.input_size,
        fallback_input_size=request.fallback_input_size,
    )
    if built.architecture.origin != "user code":
        check_memory(module, channels, size)
    classes = _num_classes(module, (channels, *size))
    if request.num_classes not in (None, classes):
        raise ArchitectureError(f"the module gives {classes} classes, not the {request.num_classes} that were named.")
    return LoadedModel(
        module=module,
        architecture=replace(built.architecture, assumptions=(*built.architecture.assumptions, *assumptions)),
        checkpoint=built.checkpoint,
        input_channels=channels,
        input_size=size,
        num_classes=classes,
    )


def _num_classes(module: nn.Module, input_shape: tuple[int, int, int]) -> int:
    size = "x".join(map(str, input_shape))
    try:
        with torch.inference_mode():
            output = module(torch.zeros(1, *input_shape))
    except Exception as error:  # a forward may fail in any way
        raise ArchitectureError(
            f"the module fails on an image of {size}: {type(error).__name__}: {error}.",
            hint="Give the size that it was trained at: `input_size=N` or `input_size=(H, W)`.",
        ) from error
    check_scores(output, size, module)
    return int(output.shape[1])


_CLASSES = 1000


def random_model(name: str, request: LoadRequest) -> BuiltModel:
    """Build one of MODEL_NAMES, or one of torchvision's classifiers, with seeded weights.

    Raises:
        UsageError: the name is unknown.
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
            f"unknown architecture {name!r}.",
            hint=f"Did you mean one of these: {', '.join(close)}?"
            if close
            else f"Available: {', '.join(MODEL_NAMES)}, and torchvision's classifiers by name.",
        )
    size = request.input_size or default_input_size(name)
    build = partial(build_torchvision, name, num_classes=request.num_classes)
    module = build_random(build, seed=request.seed, input_channels=3, input_size=size, kaiming=False)
    return BuiltModel(module, torchvision_info(name), checkpoint, 3, size)


def _random_vgg(name: str, request: LoadRequest, checkpoint: CheckpointInfo) -> BuiltModel:
    channels, size = request.input_channels or 3, request.input_size or (224, 224)
    classes = request.num_classes or _CLASSES
    build = partial(build_vgg, name, num_classes=classes, input_channels=channels, input_size=size)
    module = build_random(build, seed=request.seed, input_channels=channels, input_size=size, kaiming=True)
    return BuiltModel(module, Architecture(name, describe(name), "named"), checkpoint, channels, size)


def _random_known(name: str, request: LoadRequest, checkpoint: CheckpointInfo) -> BuiltModel:
    model = KNOWN_MODELS[name]
    channels, *size = model.input_shape
    build = partial(model.build, request.num_classes or model.num_classes)
    shape = (size[0], size[1])
    module = build_random(build, seed=request.seed, input_channels=channels, input_size=shape, kaiming=True)
    return BuiltModel(module, Architecture(name, model.description, "named"), checkpoint, channels, shape)


def pretrained_model(name: str, request: LoadRequest) -> BuiltModel:
    """Return one of torchvision's classifiers with the weights that torchvision publishes.

    Raises:
        UsageError: the name is unknown.
        CheckpointError: the weights can't be fetched.
    """
    module, weights = fetch_pretrained(name)
    size = request.input_size or default_input_size(name)
    return BuiltModel(module, torchvision_info(name), CheckpointInfo("torchvision", notes=(weights,)), 3, size)
