"""Layouts of the quantized weights of Gemm in a file, for faster loading. The outputs stay equal to the bit.

Each is a :data:`Layout`: a function, named for its effect, that changes the model in place and returns the names of the
nodes that it changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx
from onnx import helper, numpy_helper

from vgg_calibration.quantizers.linear_layers import replace_nodes

__all__ = ["Layout", "QuantizedGemm", "find_quantized_gemms", "gemm_outputs_split", "gemm_weights_untransposed"]


Layout = Callable[["onnx.ModelProto"], list[str]]


@dataclass(frozen=True)
class QuantizedGemm:
    """One layer.

    Attributes:
        node: the Gemm.
        weight: the DequantizeLinear of its weight, without other users.
        bias: the DequantizeLinear of its bias, without other users; None if there is no such node.
    """

    node: onnx.NodeProto
    weight: onnx.NodeProto
    bias: onnx.NodeProto | None

    @property
    def has_other_bias(self) -> bool:
        """Whether it has a bias, but not from a DequantizeLinear of its own."""
        return self.bias is None and any(self.node.input[2:])

    @property
    def transposed(self) -> bool:
        """Whether the weight is (out features, in features)."""
        return any(item.name == "transB" and item.i for item in self.node.attribute)


def find_quantized_gemms(model: onnx.ModelProto, constants: Mapping[str, onnx.TensorProto]) -> list[QuantizedGemm]:
    """Return every Gemm with an 8-bit weight that no other node uses; ``constants`` are the model's, by name."""
    uses = Counter(name for node in model.graph.node for name in node.input)
    makers = {
        node.output[0]: node
        for node in model.graph.node
        if node.op_type == "DequantizeLinear"
        and all(name in constants for name in node.input)
        and uses[node.input[0]] == uses[node.output[0]] == 1
    }
    gemms = []
    for node in model.graph.node:
        if node.op_type == "Gemm" and node.input[1] in makers:
            bias = makers.get(node.input[2]) if len(node.input) > 2 else None
            gemms.append(QuantizedGemm(node, makers[node.input[1]], bias))
    return gemms


def gemm_weights_untransposed(model: onnx.ModelProto) -> list[str]:
    """Transpose the stored int8 weight of every ``Gemm`` with ``transB``, and return the names of the nodes.

    ONNX Runtime packs an int8 weight when it loads it, and before that transposes a copy of the whole weight: for the
    first fully connected layer of a VGG this takes 98 MiB and a third of the loading time.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    gemms = [gemm for gemm in find_quantized_gemms(model, constants) if gemm.transposed]
    for gemm in gemms:
        weight = constants[gemm.weight.input[0]]
        weight.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(numpy_helper.to_array(weight).T), weight.name))
        _set_attribute(gemm.weight, "axis", 1)
        _set_attribute(gemm.node, "transB", 0)
    return [gemm.node.name for gemm in gemms]


def _set_attribute(node: onnx.NodeProto, name: str, value: int) -> None:
    attributes = [item for item in node.attribute if item.name != name]
    del node.attribute[:]
    node.attribute.extend([*attributes, helper.make_attribute(name, value)])


# The first fully connected layer of a VGG, of 98 MiB, becomes four; smaller ones add little to the peak.
MAX_BYTES = 32 * 2**20


def gemm_outputs_split(model: onnx.ModelProto, *, max_bytes: int = MAX_BYTES) -> list[str]:
    """Split each ``Gemm`` with a weight above ``max_bytes`` into several, each for a part of the outputs.

    ONNX Runtime packs an int8 weight when it loads it, and frees the original only afterwards: memory holds the
    largest one twice. For a VGG-16 splitting saves 60 MiB of peak memory and a fifth of the loading time. The latency
    stays the same. Returns the names of the nodes that were split.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    replacements: dict[str, list[onnx.NodeProto]] = {}
    pieces: list[onnx.TensorProto] = []
    names = []
    for gemm in find_quantized_gemms(model, constants):
        dims = constants[gemm.weight.input[0]].dims
        count = min(-(-prod(dims) // max_bytes), dims[1])
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
        names.append(name)
    replace_nodes(model, replacements, pieces)
    return names


def _pieces(tensor: onnx.TensorProto, axis: int, count: int) -> list[onnx.TensorProto]:
    """Split a weight along ``axis``, and a vector with one value per output channel along its only axis."""
    values = numpy_helper.to_array(tensor)
    if values.size == 1:  # one value for the whole tensor
        return [numpy_helper.from_array(values, _name(tensor.name, i)) for i in range(count)]
    parts = np.array_split(values, count, axis if values.ndim > 1 else 0)
    return [numpy_helper.from_array(np.ascontiguousarray(part), _name(tensor.name, i)) for i, part in enumerate(parts)]


def _part(node: onnx.NodeProto, number: int, split_inputs: Collection[str]) -> onnx.NodeProto:
    """Return ``node`` for one part, with its inputs ``split_inputs`` replaced by their parts."""
    part = onnx.NodeProto()
    part.CopyFrom(node)
    part.name = _name(node.name, number)
    part.input[:] = [_name(name, number) if name in split_inputs else name for name in node.input]
    part.output[:] = [_name(name, number) for name in node.output]
    return part


def _name(name: str, number: int) -> str:
    return f"{name}_part{number}"
