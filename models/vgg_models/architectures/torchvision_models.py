"""torchvision's classifiers by name, with or without the weights that torchvision publishes."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, nn

from vgg_models.torchvision_import import import_torchvision
from vgg_runtime.errors import CheckpointError, UsageError
from vgg_runtime.manifest import Architecture

__all__ = [
    "PREFIX",
    "build_torchvision",
    "default_input_size",
    "empty_torchvision",
    "fetch_pretrained",
    "torchvision_info",
    "torchvision_names",
]

PREFIX = "torchvision:"

# These have a second classifier for training; whether a checkpoint has it shows in its keys.
_AUXILIARY = {"googlenet": "aux1.", "inception_v3": "AuxLogits."}


def build_torchvision(name: str, *, num_classes: int | None = None) -> nn.Module:
    """Build one of torchvision's classifiers with untrained weights; None for torchvision's own 1000 classes.

    Raises:
        UsageError: torchvision has no classifier of that name.
    """
    _check_name(name)
    return _build(name, {}, num_classes)


def empty_torchvision(name: str, state: Mapping[str, Tensor]) -> nn.Module:
    """Build one of torchvision's classifiers with the number of classes that ``state`` has; its weights have no data.

    Raises:
        UsageError: torchvision has no classifier of that name.
    """
    _check_name(name)
    whole = _build_empty(name, state, None)
    last = [path for path, layer in whole.named_modules() if isinstance(layer, (nn.Linear, nn.Conv2d))][-1]
    weight = state.get(f"{last}.weight")
    return whole if weight is None else _build_empty(name, state, int(weight.shape[0]))


def _build_empty(name: str, state: Mapping[str, Tensor], num_classes: int | None) -> nn.Module:
    try:
        with torch.device("meta"):
            return _build(name, state, num_classes)
    except NotImplementedError:  # RegNets compute their widths with tensors
        return _build(name, state, num_classes)


def _build(name: str, state: Mapping[str, Tensor], num_classes: int | None) -> nn.Module:
    classes = {} if num_classes is None else {"num_classes": num_classes}
    return _models().get_model(name, weights=None, **_options(name, state), **classes)  # type: ignore[no-any-return]


def default_input_size(name: str) -> tuple[int, int]:
    """Return the (height, width) that torchvision's own weights of that name are evaluated at."""
    weights = _models().get_model_weights(name)
    preset = next(iter(weights)).transforms() if len(weights) else None
    side = preset.crop_size[0] if preset is not None else 224
    return (side, side)


def fetch_pretrained(name: str) -> tuple[nn.Module, str]:
    """Return the module with torchvision's best weights, and the name of these weights.

    torchvision downloads them once, and keeps them in its own cache.

    Raises:
        UsageError: torchvision has no classifier of that name.
        CheckpointError: the weights can't be fetched.
    """
    _check_name(name)
    weights = _models().get_model_weights(name).DEFAULT
    try:
        return _models().get_model(name, weights=weights), str(weights)
    except OSError as error:  # urllib's errors, and a full disk
        raise CheckpointError(
            f"torchvision's weights {weights} can't be fetched from {weights.url}: {error}.",
            hint="Connect to the network, or fetch the file elsewhere and give its path with "
            f"--model torchvision:{name}.",
        ) from error


def torchvision_info(name: str) -> Architecture:
    """Describe one of torchvision's classifiers."""
    # googlenet(weights=...) and inception_v3(weights=...) turn it on, and nothing in a state dict tells.
    assumptions = ("transform_input is off, as it is by default",) if name in _AUXILIARY else ()
    return Architecture(f"{PREFIX}{name}", f"torchvision's {name}", "named", assumptions=assumptions)


def torchvision_names() -> list[str]:
    """Return the names of torchvision's classifiers."""
    return list(_models().list_models(module=_models()))


def _options(name: str, state: Mapping[str, Tensor]) -> dict[str, bool]:
    if name not in _AUXILIARY:
        return {}
    # Their own way of drawing weights takes minutes; torch's default does.
    return {"aux_logits": any(key.startswith(_AUXILIARY[name]) for key in state), "init_weights": False}


def _models() -> Any:
    return import_torchvision().models


def _check_name(name: str) -> None:
    known = torchvision_names()
    if name not in known:
        close = get_close_matches(name, known, n=3, cutoff=0.5) or known
        raise UsageError(f"torchvision has no classifier called {name!r}.", hint=f"It has {', '.join(close)}.")
