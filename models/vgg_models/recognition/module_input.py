"""The images that a module takes, found by running it on shapes alone."""

from __future__ import annotations

from math import isqrt

import torch
from torch import nn
from torch.func import functional_call

from vgg_models.recognition.input_size import COMMON_SIZES
from vgg_runtime.errors import ArchitectureError

__all__ = ["find_module_input"]

_CHANNELS = (1, 3)


def find_module_input(
    module: nn.Module, *, input_channels: int | None, input_size: tuple[int, int] | None
) -> tuple[int, tuple[int, int], tuple[str, ...]]:
    """Return (channels, (height, width), assumptions).

    Args:
        input_channels, input_size: what the user named; it is taken as it is.

    Raises:
        ArchitectureError: the module does not decide it.
    """
    channels = input_channels or _channels(module)
    if input_size is not None and channels is not None:
        return channels, input_size, ()
    fitting = _fitting(module, (channels,) if channels else _CHANNELS, input_size)
    if len(fitting) == 1:
        ((count, size),) = fitting
        assumption = (
            f"the images are {size[0]}x{size[1]} with {count} channels: of the common sizes the only ones that fit"
        )
        return count, size, (assumption,)
    sizes = ", ".join(f"{count}x{size[0]}x{size[1]}" for count, size in fitting) or "none of the common sizes"
    raise ArchitectureError(
        f"the size of the images can't be read off the module; it runs on {sizes} (channels x height x width).",
        hint="Give the size that you trained at: --input-size N or --input-size HxW.",
    )


def _channels(module: nn.Module) -> int | None:
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            return layer.in_channels
        if isinstance(layer, nn.Linear):
            return None
    return None


def _fitting(
    module: nn.Module, channels: tuple[int, ...], input_size: tuple[int, int] | None
) -> list[tuple[int, tuple[int, int]]]:
    sizes = [input_size] if input_size else [(side, side) for side in (*COMMON_SIZES, *_first_linear_sides(module))]
    cases = dict.fromkeys((count, size) for count in channels for size in sizes)
    return [(count, size) for count, size in cases if _runs(module, count, size)]


def _first_linear_sides(module: nn.Module) -> list[int]:
    """Images that a Linear layer takes flattened may be of any size."""
    first = next((layer for layer in module.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))), None)
    if not isinstance(first, nn.Linear):
        return []
    sides = [isqrt(first.in_features // count) for count in _CHANNELS]
    return [side for side, count in zip(sides, _CHANNELS, strict=True) if side * side * count == first.in_features]


def _runs(module: nn.Module, channels: int, size: tuple[int, int]) -> bool:
    on_meta = {name: tensor.to("meta") for name, tensor in [*module.named_parameters(), *module.named_buffers()]}
    try:
        with torch.inference_mode():
            output = functional_call(module, on_meta, (torch.empty(1, channels, *size, device="meta"),))
    except Exception:  # a forward may fail in any way on images that it was not made for
        return False
    return isinstance(output, torch.Tensor) and output.dim() == 2
