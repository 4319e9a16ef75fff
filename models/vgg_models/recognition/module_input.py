"""The images that a module takes, found by running it on shapes alone."""

from __future__ import annotations

from contextlib import ExitStack
from math import isqrt

import torch
from torch import Tensor, nn
from torch.func import functional_call

from vgg_models.recognition.input_size import COMMON_SIZES
from vgg_runtime.errors import ArchitectureError

__all__ = ["find_module_input", "fitting_inputs"]

_CHANNELS = (1, 3)

Size = tuple[int, int]
ImageShape = tuple[int, Size]


def find_module_input(
    module: nn.Module, *, input_channels: int | None, input_size: Size | None, likely_size: Size | None
) -> tuple[int, Size, tuple[str, ...]]:
    """Return (channels, (height, width), assumptions).

    Args:
        input_channels, input_size: what the user or the checkpoint stated; it is taken as it is.
        likely_size: taken where the module leaves a choice.

    Raises:
        ArchitectureError: the module does not decide it.
    """
    channels = input_channels or _channels(module)
    if input_size is not None and channels is not None:
        return channels, input_size, ()
    fitting = fitting_inputs(module, channels, input_size)
    unpooled = [shape for shape in fitting if len(fitting) > 1 and _pool_does_nothing(module, shape)]
    likely = [shape for shape in fitting if shape[1] == likely_size]
    for chosen, reason in (
        (fitting, "of the common sizes the only one that fits"),
        (likely, "the size that goes with the preprocessing"),
        (unpooled, "of the common sizes the only one that its adaptive pool passes on unchanged"),
    ):
        if len(chosen) == 1:
            count, size = chosen[0]
            return count, size, (f"the images are {size[0]}x{size[1]} with {count} channels: {reason}",)
    shown = ", ".join(f"{count}x{size[0]}x{size[1]}" for count, size in fitting) or "none of the common sizes"
    raise ArchitectureError(
        f"the size of the images can't be read off the module; it runs on {shown} (channels x height x width).",
        hint="Give the size that you trained at: --input-size N or --input-size HxW.",
    )


def fitting_inputs(module: nn.Module, channels: int | None = None, size: Size | None = None) -> list[ImageShape]:
    """Return every (channels, (height, width)) of the common sizes on which the module runs and gives (1, classes)."""
    channels = channels or _channels(module)
    sizes = [size] if size else [(side, side) for side in (*COMMON_SIZES, *_first_linear_sides(module))]
    shapes = dict.fromkeys((count, side) for count in ((channels,) if channels else _CHANNELS) for side in sizes)
    return [shape for shape in shapes if _runs(module, shape)]


def _channels(module: nn.Module) -> int | None:
    first = _first_weighted(module)
    if not isinstance(first, nn.Conv2d):
        return None
    # Not in_channels: a module rebuilt from a file has its weights for certain, and its attributes only perhaps.
    return int(first.weight.shape[1]) * getattr(first, "groups", 1)


def _first_linear_sides(module: nn.Module) -> list[int]:
    """Images that a Linear layer takes flattened may be of any size."""
    first = _first_weighted(module)
    if not isinstance(first, nn.Linear):
        return []
    sides = [isqrt(first.in_features // count) for count in _CHANNELS]
    return [side for side, count in zip(sides, _CHANNELS, strict=True) if side * side * count == first.in_features]


def _first_weighted(module: nn.Module) -> nn.Conv2d | nn.Linear | None:
    return next((layer for layer in module.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))), None)


def _runs(module: nn.Module, shape: ImageShape) -> bool:
    on_meta = {name: tensor.to("meta") for name, tensor in [*module.named_parameters(), *module.named_buffers()]}
    images = torch.empty(1, shape[0], *shape[1], device="meta")
    try:
        with torch.inference_mode():
            output = functional_call(module, on_meta, (images,))
    except Exception:  # a forward may fail in any way on images that it was not made for
        return False
    return isinstance(output, Tensor) and output.dim() == 2


def _pool_does_nothing(module: nn.Module, shape: ImageShape) -> bool:
    """Whether the module has one adaptive pool, to more than 1x1, and feature maps come to it in that very size."""
    seen: list[bool] = []

    def look(pool: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        seen.append(inputs[0].shape == output.shape and output.shape[-1] > 1)

    with ExitStack() as hooks:
        for layer in module.modules():
            if isinstance(layer, nn.AdaptiveAvgPool2d):
                hooks.callback(layer.register_forward_hook(look).remove)
        _runs(module, shape)
    return seen == [True]
