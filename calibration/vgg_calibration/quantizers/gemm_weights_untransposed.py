"""int8 weights of fully connected layers as (in features, out features), the order in which kernels pack them."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from vgg_calibration.quantizers import Context

__all__ = ["gemm_weights_untransposed"]


def gemm_weights_untransposed(model: onnx.ModelProto, context: Context) -> list[str]:
    """Store the int8 weight of every ``Gemm`` with ``transB`` the other way round, and return the names of the nodes.

    ONNX Runtime packs an int8 weight when it loads it, and transposes a copy of the whole weight before that: for the
    first fully connected layer of a VGG 98 MiB and a third of the loading time. The outputs stay the same to the bit.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    uses = [name for node in model.graph.node for name in node.input]
    turned = []
    for node in model.graph.node:
        transposed = next((item for item in node.attribute if item.name == "transB" and item.i), None)
        maker = makers.get(node.input[1]) if node.op_type == "Gemm" else None
        if transposed is None or maker is None or maker.op_type != "DequantizeLinear":
            continue
        weight = constants.get(maker.input[0])
        if weight is None or uses.count(weight.name) + uses.count(maker.output[0]) > 2:
            continue
        transposed.i = 0
        weight.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(numpy_helper.to_array(weight).T), weight.name))
        _set_axis(maker, 1)
        turned.append(node.name)
    return turned


def _set_axis(node: onnx.NodeProto, axis: int) -> None:
    kept = [item for item in node.attribute if item.name != "axis"]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute("axis", axis)])
