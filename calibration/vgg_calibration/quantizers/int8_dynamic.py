"""Fully connected layers in int8, their inputs quantized on the fly."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from vgg_calibration.quantizers.base import QuantizationContext
from vgg_calibration.quantizers.linear_layers import LinearLayer, find_linear_layers, replace_nodes

__all__ = ["quantize_linear_dynamic"]


def quantize_linear_dynamic(model: onnx.ModelProto, context: QuantizationContext) -> list[str]:
    """Replace every ``x @ W`` by DynamicQuantizeLinear and MatMulInteger, and return the layers' names.

    Weights are symmetric int8 with one scale per output; onnxruntime fuses the five nodes into one. Convolutions
    stay in float: ConvInteger has no fast path: with it a VGG-16 is several times slower than in float.
    """
    replacements, constants = {}, []
    layers = find_linear_layers(model, context)
    for layer in layers:
        nodes, tensors = _quantized(layer, 63 if context.target.reduce_range else 127)
        replacements[layer.output] = nodes
        constants += tensors
    replace_nodes(model, replacements, constants)
    return [layer.node.name for layer in layers]


def _quantized(layer: LinearLayer, max_level: int) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    name = layer.node.name
    scale = np.maximum(np.abs(layer.weight).max(axis=0), np.finfo(np.float32).tiny) / np.float32(max_level)
    weight = np.clip(np.rint(layer.weight / scale), -max_level, max_level).astype(np.int8)
    constants = [
        numpy_helper.from_array(np.ascontiguousarray(weight), f"{name}_weight_int8"),
        numpy_helper.from_array(scale.astype(np.float32), f"{name}_weight_scale"),
        numpy_helper.from_array(np.zeros(weight.shape[1], np.int8), f"{name}_weight_zero_point"),
    ]
    weight_int8, weight_scale, weight_zero_point = (tensor.name for tensor in constants)
    quantized = [f"{name}_input_uint8", f"{name}_input_scale", f"{name}_input_zero_point"]
    nodes = [
        helper.make_node("DynamicQuantizeLinear", [layer.input], quantized, name=f"{name}_quantize"),
        helper.make_node(
            "MatMulInteger",
            [quantized[0], weight_int8, quantized[2], weight_zero_point],
            [f"{name}_product_int32"],
            name=f"{name}_matmul",
        ),
        helper.make_node("Cast", [f"{name}_product_int32"], [f"{name}_product_float"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Mul", [quantized[1], weight_scale], [f"{name}_scale"], name=f"{name}_scales"),
        helper.make_node("Mul", [f"{name}_product_float", f"{name}_scale"], [f"{name}_product"], name=f"{name}_scaled"),
    ]
    return nodes + layer.with_bias(f"{name}_product"), constants
