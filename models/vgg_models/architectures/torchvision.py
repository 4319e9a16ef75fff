"""torchvision's classifiers by name, with or without the weights that torchvision publishes."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from math import isqrt
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vgg_models._torchvision import import_torchvision
from vgg_runtime.bundle.manifest import Architecture
from vgg_runtime.errors import CheckpointError, UsageError

__all__ = [
    "PREFIX",
    "build_torchvision",
    "default_input_size",
    "empty_torchvision",
    "fetch_pretrained",
    "last_layer",
    "torchvision_info",
    "torchvision_names",
]

PREFIX = "torchvision:"

# These have a second classifier for training, which shows in the keys of a checkpoint.
_AUXILIARY = {"googlenet": "aux1.", "inception_v3": "AuxLogits."}
_AUXILIARY_CLASSES = ("aux1.fc2", "aux2.fc2", "AuxLogits.fc")


def build_torchvision(name: str, *, num_classes: int | None = None) -> nn.Module:
    """Build one of torchvision's classifiers with untrained weights; None for torchvision's own 1000 classes.

    Raises:
        UsageError: torchvision has no classifier of that name.
    """
    _check_name(name)
    return _build(name, {}, num_classes)


def empty_torchvision(name: str, state: Mapping[str, Tensor]) -> nn.Module:
    """Build one of torchvision's classifiers with the classes and image channels that ``state`` has, and no weights.

    Raises:
        UsageError: torchvision has no classifier of that name.
    """
    _check_name(name)
    # Even if another device is the default, because RegNets compute their widths with tensors.
    with torch.device("cpu"), _EmptyOnMeta():
        module = _build(name, state, None)
    _take_widths(module, state)
    return module


def last_layer(module: nn.Module) -> str:
    """Return the path of the layer that gives the classes."""
    return list(_affine_layers(module))[-1]


def _affine_layers(module: nn.Module) -> dict[str, nn.Linear | nn.Conv2d]:
    return {path: layer for path, layer in module.named_modules() if isinstance(layer, (nn.Linear, nn.Conv2d))}


def _take_widths(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Give the layers that people replace the saved widths: the channels of the images, and the classes."""
    layers = _affine_layers(module)
    first, *_, last = layers
    for path, axis in ((first, 1), (last, 0), *((path, 0) for path in _AUXILIARY_CLASSES)):
        if path in layers and f"{path}.weight" in state:
            _resize(layers[path], tuple(state[f"{path}.weight"].shape), axis)
    if layers[first].bias is None and f"{first}.bias" in state:
        layers[first].bias = nn.Parameter(torch.empty(layers[first].weight.shape[0], device="meta"))


def _resize(layer: nn.Linear | nn.Conv2d, shape: tuple[int, ...], axis: int) -> None:
    """Change the one axis of a Linear's or a convolution's weight; leave a layer whose other axes differ as it is."""
    own = tuple(layer.weight.shape)
    if len(own) != len(shape) or any(own[other] != shape[other] for other in range(len(own)) if other != axis):
        return
    layer.weight = nn.Parameter(torch.empty(shape, device="meta"))
    if layer.bias is not None:
        layer.bias = nn.Parameter(torch.empty(shape[0], device="meta"))
    if isinstance(layer, nn.Linear):
        layer.out_features = shape[0]
    else:
        layer.out_channels, layer.in_channels = shape[:2]


class _EmptyOnMeta(TorchFunctionMode):
    """Weights, which torch's layers create with ``torch.empty``, get no memory; everything else is computed."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        return func(*args, **(kwargs | {"device": "meta"} if func is torch.empty else kwargs))


def _take_image_channels(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """If the first convolution was replaced for other image channels, replace it here too."""
    path, first = next((path, layer) for path, layer in module.named_modules() if isinstance(layer, nn.Conv2d))
    weight = state.get(f"{path}.weight")
    if weight is None or weight.shape[1:2] == first.weight.shape[1:2] or first.groups != 1:
        return
    module.set_submodule(
        path,
        nn.Conv2d(
            int(weight.shape[1]),
            first.out_channels,
            first.kernel_size,  # type: ignore[arg-type]
            first.stride,  # type: ignore[arg-type]
            first.padding,  # type: ignore[arg-type]
            bias=f"{path}.bias" in state,
            device="meta",
        ),
    )


def _build(name: str, state: Mapping[str, Tensor], num_classes: int | None) -> nn.Module:
    classes = {} if num_classes is None else {"num_classes": num_classes}
    return _models().get_model(name, weights=None, **_options(name, state), **classes)  # type: ignore[no-any-return]


def default_input_size(name: str, state: Mapping[str, Tensor] | None = None) -> tuple[int, int]:
    """Return the (height, width) that torchvision's own weights of that name are evaluated at.

    Args:
        state: the state dict of a ViT has the size in its position embedding.
    """
    stated = {} if state is None else _image_size(state)
    weights = _models().get_model_weights(name)
    preset = next(iter(weights)).transforms() if len(weights) else None
    side = stated.get("image_size") or (preset.crop_size[0] if preset is not None else 224)
    return (side, side)


def fetch_pretrained(name: str) -> tuple[nn.Module, str]:
    """Return the module with torchvision's best weights, and the name of these weights.

    torchvision downloads them once, and keeps them in its cache.

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
            f"`model='torchvision:{name}'`.",
        ) from error


def torchvision_info(name: str) -> Architecture:
    """Describe one of torchvision's classifiers."""
    # googlenet(weights=...) and inception_v3(weights=...) turn it on, which no state dict shows.
    assumptions = ("transform_input is off, as it is by default",) if name in _AUXILIARY else ()
    return Architecture(f"{PREFIX}{name}", f"torchvision's {name}", "named", assumptions=assumptions)


def torchvision_names() -> list[str]:
    """Return the names of torchvision's classifiers."""
    return list(_models().list_models(module=_models()))


def _options(name: str, state: Mapping[str, Tensor]) -> dict[str, Any]:
    if name not in _AUXILIARY:
        return _image_size(state)
    # Their own initialization takes minutes; torch's default is good enough.
    return {"aux_logits": any(key.startswith(_AUXILIARY[name]) for key in state), "init_weights": False}


def _image_size(state: Mapping[str, Tensor]) -> dict[str, int]:
    """A ViT has one position for each patch, and one for the class."""
    positions, patches = state.get("encoder.pos_embedding"), state.get("conv_proj.weight")
    if positions is None or patches is None or positions.dim() != 3 or patches.dim() != 4 or positions.shape[1] < 2:
        return {}
    return {"image_size": isqrt(positions.shape[1] - 1) * int(patches.shape[-1])}


def _models() -> Any:
    return import_torchvision().models


def _check_name(name: str) -> None:
    names = torchvision_names()
    if name not in names:
        close = get_close_matches(name, names, n=3, cutoff=0.5) or names
        raise UsageError(f"torchvision has no classifier called {name!r}.", hint=f"It has {', '.join(close)}.")
