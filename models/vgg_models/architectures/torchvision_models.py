"""torchvision's classifiers by name, with or without the weights that torchvision publishes."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, nn

from vgg_models.torchvision_import import import_torchvision
from vgg_runtime.errors import ArchitectureError, CheckpointError

__all__ = ["build_torchvision", "default_input_size", "fetch_pretrained", "num_classes_of"]

# These have a second classifier for training; whether a checkpoint has it shows in its keys.
_AUXILIARY = {"googlenet": "aux1.", "inception_v3": "AuxLogits."}


def build_torchvision(
    name: str, *, num_classes: int | None = None, state: Mapping[str, Tensor] | None = None
) -> nn.Module:
    """Build one of torchvision's classifiers with untrained weights.

    Args:
        num_classes: None for torchvision's own, 1000, or for what ``state`` has.
        state: what will be loaded; the number of classes is read off its last layer.

    Raises:
        ArchitectureError: torchvision has no classifier of that name.
    """
    _check_name(name)
    options = _options(name, state or {})
    if num_classes is None and state is not None:
        num_classes = num_classes_of(name, state)
    classes = {} if num_classes is None else {"num_classes": num_classes}
    return _models().get_model(name, weights=None, **options, **classes)  # type: ignore[no-any-return]


def num_classes_of(name: str, state: Mapping[str, Tensor]) -> int | None:
    """Return the width of the layer of ``state`` that is the model's last; None where the state lacks it."""
    with torch.device("meta"):
        module = _models().get_model(name, weights=None, **_options(name, state))
    weighted = [path for path, layer in module.named_modules() if isinstance(layer, (nn.Linear, nn.Conv2d))]
    last = state.get(f"{weighted[-1]}.weight")
    return None if last is None else int(last.shape[0])


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
        ArchitectureError: torchvision has no classifier of that name.
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


def _options(name: str, state: Mapping[str, Tensor]) -> dict[str, bool]:
    if name not in _AUXILIARY:
        return {}
    # Their own way of drawing weights takes minutes; torch's default does.
    return {"aux_logits": any(key.startswith(_AUXILIARY[name]) for key in state), "init_weights": False}


def _models() -> Any:
    return import_torchvision().models


def _check_name(name: str) -> None:
    known = _models().list_models(module=_models())
    if name not in known:
        close = get_close_matches(name, known, n=3, cutoff=0.5) or known
        raise ArchitectureError(f"torchvision has no classifier called {name!r}.", hint=f"It has {', '.join(close)}.")
