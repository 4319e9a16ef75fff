"""Scaling, normalization and layout as the first operations of a module."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import helper, numpy_helper

from vgg_runtime.bundle.manifest import InputSpec

if TYPE_CHECKING:
    import torch
    from torch import nn

    from vgg_runtime.imaging.preprocessing import Preprocessing

__all__ = ["embed_preprocessing", "prepend_preprocessing"]


def prepend_preprocessing(module: nn.Module, preprocessing: Preprocessing) -> nn.Module:
    """Return a module that takes uint8 (batch, height, width, channels), with the same outputs, on a CPU to the bit.

    It computes :meth:`~vgg_runtime.imaging.preprocessing.Preprocessing.normalize`, with one rounding to float32 per
    step.
    """
    import torch

    class WithPreprocessing(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = module

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            # Copied, because a single channel counts as contiguous whatever its strides, by which convolutions choose
            # kernels.
            planes = pixels.permute(0, 3, 1, 2).float().clone(memory_format=torch.contiguous_format)
            # Divide by a tensor of one element: on CUDA, PyTorch would multiply by the reciprocal of a number.
            planes = planes / torch.tensor([preprocessing.divide_by])
            if preprocessing.mean is not None:
                planes = planes - torch.tensor(preprocessing.mean).view(-1, 1, 1)
            if preprocessing.std is not None:
                planes = planes / torch.tensor(preprocessing.std).view(-1, 1, 1)
            outputs: torch.Tensor = self.network(planes)
            return outputs

    return WithPreprocessing().eval()


def embed_preprocessing(file: Path, preprocessing: Preprocessing, input_spec: InputSpec) -> None:
    """Change the input of the model in ``file`` from float32 NCHW to uint8 NHWC; external data is unchanged.

    The new nodes compute :meth:`~vgg_runtime.imaging.preprocessing.Preprocessing.normalize`, with one rounding to
    float32 per step, so that the outputs stay equal to the bit.

    Args:
        input_spec: the new input, which keeps the name of the old one.
    """
    model = onnx.load(file, load_external_data=False)
    graph = model.graph
    prefix = _free_prefix(graph, input_spec.name)
    planes = f"{prefix}_planes"
    for node in graph.node:
        node.input[:] = [planes if name == input_spec.name else name for name in node.input]
    *nodes, last = _nodes(input_spec.name, prefix, preprocessing, graph)
    last.output[0] = planes
    rest = list(graph.node)
    del graph.node[:], graph.input[:]
    graph.node.extend([*nodes, last, *rest])
    graph.input.append(helper.make_tensor_value_info(input_spec.name, onnx.TensorProto.UINT8, input_spec.shape))
    onnx.save(model, file)


def _free_prefix(graph: onnx.GraphProto, prefix: str) -> str:
    """Return a prefix that no name in ``graph`` has; a network that normalizes itself may have an ``input_mean``."""
    names = [tensor.name for tensor in graph.initializer]
    names += [name for node in graph.node for name in (node.name, *node.input, *node.output)]
    while any(name.startswith(f"{prefix}_") for name in names):
        prefix += "_"
    return prefix


def _nodes(name: str, prefix: str, preprocessing: Preprocessing, graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Yield the nodes in order, each named after its output, and add their constants to ``graph``."""
    transposed = f"{prefix}_transposed"
    yield helper.make_node("Transpose", [name], [transposed], name=transposed, perm=(0, 3, 1, 2))
    before, after = transposed, f"{prefix}_float"
    yield helper.make_node("Cast", [before], [after], name=after, to=onnx.TensorProto.FLOAT)
    steps = (
        ("Div", "divide_by", (preprocessing.divide_by,)),
        ("Sub", "mean", preprocessing.mean),
        ("Div", "std", preprocessing.std),
    )
    for operator, field, values in steps:
        if values is not None:
            before, after, constant = after, f"{prefix}_after_{field}", f"{prefix}_{field}"
            array = np.array(values, dtype=np.float32).reshape(-1, 1, 1)
            graph.initializer.append(numpy_helper.from_array(array, constant))
            yield helper.make_node(operator, [before, constant], [after], name=after)
