"""Layers of a module that was saved whole which contradict the architecture recognised by its weights."""

from __future__ import annotations

from torch import nn

__all__ = ["layer_mismatches"]

_POOLS = (nn.MaxPool2d, nn.AvgPool2d)
_ACTIVATIONS = (nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Tanh, nn.Softmax, nn.LogSoftmax)


def layer_mismatches(saved: nn.Module, built: nn.Module) -> list[str]:
    """Return the layers of ``saved`` that ``built`` does not run in the same way, described.

    A function that ``forward`` called is not a layer, so ``built`` may have layers that ``saved`` lacks.
    """
    descriptions = {_describe(layer) for layer in built.modules()}
    return sorted({text for layer in saved.modules() if (text := _describe(layer)) not in descriptions})


def _describe(layer: nn.Module) -> str:
    """Settings of a layer that its weights do not show; empty for layers without any."""
    if isinstance(layer, nn.Conv2d):
        return f"Conv2d(stride={_pair(layer.stride)}, padding={_pair(layer.padding)})"
    if isinstance(layer, _POOLS):
        size, stride = _pair(layer.kernel_size), _pair(layer.stride)
        return f"{type(layer).__name__}({size}, stride={stride}, padding={_pair(layer.padding)})"
    return type(layer).__name__ if isinstance(layer, _ACTIVATIONS) else ""


def _pair(value: object) -> object:
    return (value, value) if isinstance(value, int) else value
