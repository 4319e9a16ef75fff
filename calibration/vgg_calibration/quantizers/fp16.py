"""Half precision: the whole network, or only the weights of convolutions."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from vgg_calibration.quantizers.base import QuantizationContext

__all__ = ["conv_weights_fp16", "float16"]


def float16(model: onnx.ModelProto, context: QuantizationContext) -> list[str]:
    """Convert weights and arithmetic to float16, and return the names of the nodes that compute in it.

    For CUDA, where it is faster, and for size: on x86 onnxruntime has no half-precision kernels, so it computes in
    float32 and converts on the way.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    computing = [node.name for node in model.graph.node if node.name not in context.in_float]
    converted = convert_float_to_float16(
        model, keep_io_types=True, disable_shape_infer=True, node_block_list=sorted(context.in_float)
    )
    model.CopyFrom(converted)
    return computing


def conv_weights_fp16(model: onnx.ModelProto, context: QuantizationContext) -> list[str]:
    """Store every convolution's weight as float16 behind a Cast, and return the nodes' names.

    onnxruntime folds the Cast when it loads the file, so the speed is that of float32, at half the file size. (An int8
    weight behind DequantizeLinear is not folded: half that size, and slow.)
    """
    graph = model.graph
    convolutions = [node for node in graph.node if node.op_type == "Conv" and node.name not in context.in_float]
    weights = {node.input[1] for node in convolutions}
    casts, changed = [], []
    for tensor in graph.initializer:
        if tensor.name not in weights or tensor.data_type != onnx.TensorProto.FLOAT:
            continue
        with np.errstate(over="ignore"):
            half = numpy_helper.to_array(tensor).astype(np.float16)
        if not np.isfinite(half).all():
            continue  # beyond float16's 65504: this weight stays in float32
        name, stored = tensor.name, f"{tensor.name}_fp16"
        tensor.CopyFrom(numpy_helper.from_array(half, stored))
        casts.append(helper.make_node("Cast", [stored], [name], name=f"{name}_to_float", to=onnx.TensorProto.FLOAT))
        changed += [node.name for node in convolutions if node.input[1] == name]
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return changed
