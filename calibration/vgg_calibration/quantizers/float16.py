"""The whole network in half precision, with float32 input and output."""

from __future__ import annotations

import onnx

from vgg_calibration.quantizers import Context

__all__ = ["float16"]


def float16(model: onnx.ModelProto, context: Context) -> list[str]:
    """Convert weights and arithmetic to float16, and return the names of the nodes that compute in it.

    For CUDA, where it is faster, and for size: an x86 CPU has no half-precision kernels, so onnxruntime computes in
    float32 there and converts on the way.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    computing = [node.name for node in model.graph.node if node.name not in context.in_float]
    converted = convert_float_to_float16(
        model, keep_io_types=True, disable_shape_infer=True, node_block_list=sorted(context.in_float)
    )
    model.CopyFrom(converted)
    return computing
