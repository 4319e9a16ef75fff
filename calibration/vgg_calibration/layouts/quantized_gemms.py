"""The fully connected layers of a quantized graph: Gemm whose weight is a constant in 8 bits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import onnx

__all__ = ["QuantizedGemm", "find_quantized_gemms"]


@dataclass(frozen=True)
class QuantizedGemm:
    """One layer.

    Attributes:
        node: the Gemm.
        weight: the DequantizeLinear that gives its weight, and gives it to nobody else.
        bias: the one that gives its bias, and gives it to nobody else; None where something else does, or nothing.
    """

    node: onnx.NodeProto
    weight: onnx.NodeProto
    bias: onnx.NodeProto | None

    @property
    def has_other_bias(self) -> bool:
        """Whether its bias comes from something else than ``bias``."""
        return self.bias is None and any(self.node.input[2:])

    @property
    def transposed(self) -> bool:
        """Whether the weight is (out features, in features)."""
        return any(item.name == "transB" and item.i for item in self.node.attribute)


def find_quantized_gemms(model: onnx.ModelProto, constants: Mapping[str, onnx.TensorProto]) -> list[QuantizedGemm]:
    """Return every Gemm of a weight in 8 bits that no other node uses; ``constants`` are the model's, by name."""
    uses = Counter(name for node in model.graph.node for name in node.input)
    makers = {
        node.output[0]: node
        for node in model.graph.node
        if node.op_type == "DequantizeLinear"
        and all(name in constants for name in node.input)
        and uses[node.input[0]] == uses[node.output[0]] == 1
    }
    found = []
    for node in model.graph.node:
        if node.op_type == "Gemm" and node.input[1] in makers:
            bias = makers.get(node.input[2]) if len(node.input) > 2 else None
            found.append(QuantizedGemm(node, makers[node.input[1]], bias))
    return found
