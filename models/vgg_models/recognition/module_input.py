"""The images that a module takes, found by running it on the meta device."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from math import isqrt
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode

from vgg_models.classifier_contract import check_inputs, check_scores
from vgg_models.recognition.input_size import COMMON_SIZES
from vgg_runtime._internal.validation import counted
from vgg_runtime.errors import ArchitectureError

__all__ = ["check_memory", "find_module_input", "fitting_inputs"]

_CHANNELS = (1, 3)

Size = tuple[int, int]
ImageShape = tuple[int, Size]


def find_module_input(
    module: nn.Module, *, input_channels: int | None, input_size: Size | None, fallback_input_size: Size | None
) -> tuple[int, Size, tuple[str, ...]]:
    """Return (channels, (height, width), assumptions).

    Args:
        input_channels, input_size: values stated by the user or the checkpoint, used unchanged.
        fallback_input_size: used if several sizes are possible.

    Raises:
        ArchitectureError: the module does not decide it, takes more than images, or fails for a reason other than
            the size.
    """
    check_inputs(module)
    channels = input_channels or _channels(module)
    if input_size is not None and channels is not None:
        return channels, input_size, ()
    fitting = fitting_inputs(module, channels, input_size)
    unpooled = [shape for shape in fitting if len(fitting) > 1 and _pool_does_nothing(module, shape)]
    likely = [shape for shape in fitting if shape[1] == fallback_input_size]
    for shapes, reason in (
        (fitting, "of the common sizes the only one that fits"),
        (likely, "the size that goes with the preprocessing"),
        (unpooled, "of the common sizes the only one that its adaptive pool passes on unchanged"),
    ):
        if len(shapes) == 1:
            count, size = shapes[0]
            return count, size, (f"the images are {size[0]}x{size[1]} with {counted(count, 'channel')}: {reason}",)
    if not fitting:
        faults = (_fault(module, shape) for shape in _candidates(module, channels, input_size))
        _refuse_faults([fault for fault in faults if fault is not None])
    sizes = ", ".join(map(_shown, fitting)) or "none of the common sizes"
    raise ArchitectureError(
        f"the size of the images can't be read off the module; it runs on {sizes} (channels x height x width).",
        hint="Give the size that you trained at: `input_size=N` or `input_size=(H, W)`.",
    )


def fitting_inputs(module: nn.Module, channels: int | None = None, size: Size | None = None) -> list[ImageShape]:
    """Return every (channels, (height, width)) of the common sizes on which the module runs and gives (1, classes)."""
    candidates = _candidates(module, channels or _channels(module), size)
    return [shape for shape in candidates if _fault(module, shape) is None]


# Far above any classifier: VGG-16's largest feature map has 256 bytes for each pixel of the image.
_MIN_LIMIT = 128 * 1024 * 1024
_LIMIT_PER_PIXEL = 4096


class _TooLargeError(ArchitectureError):
    """A feature map is too large."""


class _MemoryLimit(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Refuses operations whose result is larger than ``limit`` bytes."""

    def __init__(self, limit: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._limit = limit

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, list | tuple) else (result,):
            if isinstance(tensor, Tensor) and tensor.nbytes > self._limit:
                raise _TooLargeError(
                    f"the network computes a tensor of shape {tuple(tensor.shape)} from one image, {tensor.nbytes} "
                    f"bytes; at most {self._limit} are accepted for images of this size.",
                    hint="Check the padding and the output sizes of its layers.",
                )
        return result


def check_memory(module: nn.Module, channels: int, size: Size) -> None:
    """Raise ArchitectureError if a feature map would be far larger than any classifier's.

    A few numbers of a saved layer, such as its padding, ask for any amount of memory. The module is tried on the meta
    device, which allocates none; one that fails there is left to its first real run.
    """
    largest_weight = max((tensor.nbytes for tensor in module.state_dict().values()), default=0)
    with _MemoryLimit(max(_MIN_LIMIT, largest_weight, _LIMIT_PER_PIXEL * size[0] * size[1])):
        fault = _fault(module, (channels, size))
    if isinstance(fault, _TooLargeError):
        raise fault


def _candidates(module: nn.Module, channels: int | None, size: Size | None) -> list[ImageShape]:
    sizes = [size] if size else [(side, side) for side in (*COMMON_SIZES, *_first_linear_sides(module))]
    return list(dict.fromkeys((count, side) for count in ((channels,) if channels else _CHANNELS) for side in sizes))


def _channels(module: nn.Module) -> int | None:
    first = _first_weighted(module)
    if not isinstance(first, nn.Conv2d) or not hasattr(first, "weight"):
        return None
    # Not in_channels: a module rebuilt from a file is more likely to have its weights than its attributes.
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


def _fault(module: nn.Module, shape: ImageShape) -> Exception | None:
    """Why the module gives no class scores for images of that shape; None if it does."""
    # Each tensor under one name: functional_call can't restore a layer of which it replaced a tensor twice.
    on_meta = {
        f"{path}.{name}" if path else name: tensor.to("meta")
        for path, layer in module.named_modules()
        for name, tensor in [*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)]
    }
    images = torch.empty(1, shape[0], *shape[1], device="meta")
    try:
        with torch.inference_mode():
            check_scores(functional_call(module, on_meta, (images,), tie_weights=False), _shown(shape), module)
    except Exception as error:  # a forward may fail in any way on images of the wrong size
        return error
    return None


def _refuse_faults(faults: list[Exception]) -> None:
    """Raise ArchitectureError if the errors at all sizes show that the size is not to blame."""
    for fault in faults:
        if isinstance(fault, ArchitectureError):  # it ran, so other sizes would tell nothing new
            raise fault
    reasons = {f"{type(fault).__name__}: {fault}".splitlines()[0].rstrip(".") for fault in faults}
    for reason in sorted(reasons):
        if "meta" in reason.lower():  # torch's message if more than the shape of a tensor is needed
            raise ArchitectureError(
                f"the size of the images can't be tried out: the module's forward needs their values ({reason}).",
                hint="Give the size that you trained at: `input_size=N` or `input_size=(H, W)`.",
            )
    if len(reasons) == 1:
        raise ArchitectureError(
            f"the module fails on images of every size that was tried: {reasons.pop()}.",
            hint="Fix the module's forward(); it must run on the CPU.",
        )


def _shown(shape: ImageShape) -> str:
    channels, (height, width) = shape
    return f"{channels}x{height}x{width}"


def _pool_does_nothing(module: nn.Module, shape: ImageShape) -> bool:
    """Whether the module has one adaptive pool, to more than 1x1, whose input already has the output size."""
    results: list[bool] = []

    def look(pool: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        results.append(inputs[0].shape == output.shape and output.shape[-1] > 1)

    with ExitStack() as hooks:
        for layer in module.modules():
            if isinstance(layer, nn.AdaptiveAvgPool2d):
                hooks.callback(layer.register_forward_hook(look).remove)
        _fault(module, shape)
    return results == [True]
