"""The costs of each layer: output shape, parameters, bytes, multiply-accumulates.

The figures come from one real forward pass with hooks, so they are valid for any module, not only for VGGs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

__all__ = ["LayerRow", "LayerTable", "layer_table"]


@dataclass(frozen=True)
class LayerRow:
    """One layer.

    Attributes:
        name: the layer's path in the module (``features.0``).
        type: the name of its class.
        output_shape: without the batch; empty for a layer that is never called itself.
        parameters: number of its parameters.
        bytes: their size in their dtype.
        macs: multiply-accumulates of convolutions and linear layers for one image, without the biases.

    Examples:
        >>> from vgg_models import LayerRow
        >>> row = LayerRow("features.0", "Conv2d", (64, 224, 224), parameters=1792, bytes=7168, macs=86_704_128)
        >>> f"{row.name} makes {row.macs / 1e6:.0f} million multiply-accumulates"
        'features.0 makes 87 million multiply-accumulates'
    """

    name: str
    type: str
    output_shape: tuple[int, ...]
    parameters: int
    bytes: int
    macs: int


@dataclass(frozen=True)
class LayerTable:
    """The layers of a network, and their totals.

    Attributes:
        rows: in the order in which the layers first ran.

    Examples:
        >>> from vgg_models import layer_table, load_model
        >>> table = layer_table(load_model("slim_vgg.pth").module, (1, 28, 28))
        >>> max(table.rows, key=lambda row: row.macs).name
        'features.3'
    """

    rows: tuple[LayerRow, ...]

    @property
    def parameters(self) -> int:
        """Number of parameters of all layers."""
        return sum(row.parameters for row in self.rows)

    @property
    def bytes(self) -> int:
        """Their size in bytes."""
        return sum(row.bytes for row in self.rows)

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image."""
        return sum(row.macs for row in self.rows)

    @property
    def activations(self) -> int:
        """Outputs of the convolutions and linear layers for one image, as numbers; other layers are fused into them."""
        return sum(prod(row.output_shape) for row in self.rows if row.macs)


@dataclass
class _Run:
    """What the hooks recorded of one layer; a layer that is used twice counts its multiply-accumulates twice."""

    output_shape: tuple[int, ...]
    macs: int


def layer_table(module: nn.Module, input_shape: tuple[int, int, int]) -> LayerTable:
    """Run the module once on zeros of ``(1, *input_shape)`` and return the cost of every layer.

    Args:
        module: in eval mode, on any device (``meta`` is enough).
        input_shape: (channels, height, width).

    Returns:
        the layers in the order in which they first ran.

    Examples:
        >>> from vgg_models import layer_table, load_model
        >>> table = layer_table(load_model("slim_vgg.pth").module, (1, 28, 28))
        >>> len(table.rows), table.parameters
        (26, 436202)
    """
    runs = _observe(module, input_shape)
    names = {layer: name for name, layer in module.named_modules()}
    # Layers whose parent uses their weights in a functional call (attention) are never called themselves.
    silent = [layer for layer in names if layer not in runs and _own_parameters(layer)]
    counted: set[Tensor] = set()
    rows = []
    for layer in [*runs, *silent]:
        new = [parameter for parameter in _own_parameters(layer) if parameter not in counted]
        counted.update(new)
        rows.append(_row(names[layer], layer, runs.get(layer, _Run((), 0)), new))
    return LayerTable(tuple(rows))


def _row(name: str, layer: nn.Module, run: _Run, parameters: list[nn.Parameter]) -> LayerRow:
    return LayerRow(
        name=name or "(the module itself)",
        type=type(layer).__name__,
        output_shape=run.output_shape,
        parameters=sum(parameter.numel() for parameter in parameters),
        bytes=sum(parameter.numel() * parameter.element_size() for parameter in parameters),
        macs=run.macs,
    )


def _own_parameters(layer: nn.Module) -> list[nn.Parameter]:
    return list(layer.parameters(recurse=False))


def _observe(module: nn.Module, input_shape: tuple[int, int, int]) -> dict[nn.Module, _Run]:
    runs: dict[nn.Module, _Run] = {}

    def record(layer: nn.Module, inputs: tuple[Tensor, ...], output: object) -> None:
        result = next(_tensors(output), None)
        shape = () if result is None else tuple(result.shape[1:])
        macs = 0 if result is None else _macs(layer, inputs, result)
        runs[layer] = _Run(shape, macs + (runs[layer].macs if layer in runs else 0))

    first = next(module.parameters(), torch.zeros(0))
    with ExitStack() as hooks, torch.inference_mode():
        for layer in module.modules():
            if not list(layer.children()):
                hooks.callback(layer.register_forward_hook(record).remove)
        module(torch.zeros(1, *input_shape, dtype=first.dtype, device=first.device))
    return runs


def _tensors(output: object) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, (tuple, list)):
        for item in output:
            yield from _tensors(item)


def _macs(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> int:
    """Multiply-accumulates at batch 1: every weight is used once per position that it is applied to."""
    if isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
        return output.numel() * (layer.in_channels // layer.groups) * prod(layer.kernel_size)
    if isinstance(layer, (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)):
        return inputs[0].numel() * (layer.out_channels // layer.groups) * prod(layer.kernel_size)
    if isinstance(layer, nn.Linear):
        return output.numel() * layer.in_features
    return 0
