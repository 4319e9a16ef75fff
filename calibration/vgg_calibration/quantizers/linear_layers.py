"""The fully connected layers of a graph: Gemm and MatMul whose weight is a constant."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import onnx
from onnx import helper, numpy_helper

from vgg_calibration.quantizers.base import QuantizationContext

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["LinearLayer", "find_linear_layers", "replace_nodes"]


@dataclass(frozen=True)
class LinearLayer:
    """One layer ``y = x @ weight + bias``.

    Attributes:
        node: the node in the graph.
        weight: float32 (in features, out features).
        bias: name of the bias tensor, or None.
    """

    node: onnx.NodeProto
    weight: NDArray[np.float32]
    bias: str | None

    @property
    def input(self) -> str:
        """Name of ``x``."""
        return str(self.node.input[0])

    @property
    def output(self) -> str:
        """Name of ``y``."""
        return str(self.node.output[0])

    def with_bias(self, product: str) -> list[onnx.NodeProto]:
        """Return the node that adds the bias to the tensor ``product`` to give ``y``."""
        if self.bias is None:
            return [helper.make_node("Identity", [product], [self.output], name=f"{self.node.name}_output")]
        return [helper.make_node("Add", [product, self.bias], [self.output], name=f"{self.node.name}_bias")]


def find_linear_layers(model: onnx.ModelProto, context: QuantizationContext) -> list[LinearLayer]:
    """Return every unscaled Gemm and every MatMul with a two-dimensional constant weight, except for those in float."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    layers = []
    for node in model.graph.node:
        if node.op_type not in ("Gemm", "MatMul") or node.input[1] not in constants or node.name in context.in_float:
            continue
        attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
        weight = constants[node.input[1]]
        if len(weight.dims) != 2 or _is_scaled(attributes):
            continue
        values = numpy_helper.to_array(weight)
        bias = (node.input[2] or None) if len(node.input) > 2 else None  # an omitted input has no name
        layers.append(LinearLayer(node, values.T if attributes.get("transB") else values, bias))
    return layers


def replace_nodes(
    model: onnx.ModelProto,
    replacements: dict[str, list[onnx.NodeProto]],
    constants: Iterable[onnx.TensorProto],
) -> None:
    """Replace the nodes that compute the named tensors by ``replacements``; add ``constants``.

    Constants that only the replaced nodes used are removed.
    """
    graph = model.graph
    replaced = {name for node in graph.node if node.output[0] in replacements for name in node.input}
    nodes = [new for node in graph.node for new in replacements.get(node.output[0], [node])]
    del graph.node[:]
    graph.node.extend(nodes)
    used_names = {name for node in nodes for name in node.input} | {value.name for value in graph.output}
    initializers = [tensor for tensor in graph.initializer if tensor.name in used_names or tensor.name not in replaced]
    del graph.initializer[:]
    graph.initializer.extend([*initializers, *constants])


def _is_scaled(attributes: dict[str, Any]) -> bool:
    return (
        attributes.get("alpha", 1.0) != 1.0 or attributes.get("beta", 1.0) != 1.0 or bool(attributes.get("transA", 0))
    )
