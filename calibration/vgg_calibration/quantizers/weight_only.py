"""Fully connected weights in 4 or 8 bits with a scale per block; activations stay in float."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import ml_dtypes
import numpy as np
import onnx
from onnx import helper, numpy_helper

from vgg_calibration.quantizers.base import QuantizationContext
from vgg_calibration.quantizers.linear_layers import LinearLayer, find_linear_layers, replace_nodes

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["pack_blockwise", "quantize_linear_weights_blockwise"]

# onnxruntime's operator: com.microsoft MatMulNBits, documented in its ContribOperators.md.
_DOMAIN = "com.microsoft"

# Level 4 lets the engine quantize the activations to int8 by block, its fast path; 0 would keep them in float.
_ACCURACY_LEVEL = 4


def quantize_linear_weights_blockwise(
    model: onnx.ModelProto, context: QuantizationContext, *, bits: Literal[4, 8], block_size: int
) -> list[str]:
    """Replace every ``x @ W`` by MatMulNBits, and return the layers' names.

    Args:
        block_size: number of inputs that share a scale, a power of two from 16. If it does not divide the width of a
            layer, the last block is padded with zeros, which affects only the size.
    """
    replacements, constants = {}, []
    layers = find_linear_layers(model, context)
    for layer in layers:
        weight, scales = pack_blockwise(layer.weight, bits, block_size)
        name = layer.node.name
        constants += [
            numpy_helper.from_array(weight, f"{name}_weight_int{bits}"),
            numpy_helper.from_array(scales.astype(ml_dtypes.bfloat16), f"{name}_scales_bfloat16"),
        ]
        replacements[layer.output] = _nodes(layer, bits, block_size) + layer.with_bias(f"{name}_product")
    replace_nodes(model, replacements, constants)
    if replacements and _DOMAIN not in {entry.domain for entry in model.opset_import}:
        model.opset_import.append(helper.make_opsetid(_DOMAIN, 1))
    return [layer.node.name for layer in layers]


def pack_blockwise(
    weight: NDArray[np.float32], bits: Literal[4, 8], block_size: int
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Quantize ``weight``, float32 (in features, out features), symmetrically per block of in features.

    Returns:
        uint8 (out features, blocks, block_size * bits / 8), values offset by 2^(bits-1), for 4 bits the even value in
        the low half of each byte; and the scales, float32 (out features, blocks), each of which bfloat16 holds exactly:
        levels are taken with the rounded scale, so that storing it in 16 bits costs no accuracy.
    """
    rows, columns = weight.shape
    blocks = -(-rows // block_size)
    padded = np.zeros((columns, blocks * block_size), np.float32)
    padded[:, :rows] = weight.T
    padded = padded.reshape(columns, blocks, block_size)
    half = 1 << (bits - 1)
    # The value of largest magnitude gets the most negative level, so that all 2^bits levels are used.
    peak = np.take_along_axis(padded, np.abs(padded).argmax(axis=2)[:, :, np.newaxis], axis=2)
    scales = (peak / np.float32(-half)).astype(ml_dtypes.bfloat16).astype(np.float32)
    safe = np.where(scales == 0, np.float32(1), scales)
    levels = np.clip(np.rint(padded / safe) + half, 0, 2 * half - 1).astype(np.uint8)
    if bits == 4:
        levels = levels[:, :, 0::2] | (levels[:, :, 1::2] << 4)
    return levels, scales[:, :, 0]


def _nodes(layer: LinearLayer, bits: int, block_size: int) -> list[onnx.NodeProto]:
    rows, columns = layer.weight.shape
    name = layer.node.name
    return [
        # Folded when the file is loaded.
        helper.make_node("Cast", [f"{name}_scales_bfloat16"], [f"{name}_scales"], to=onnx.TensorProto.FLOAT),
        helper.make_node(
            "MatMulNBits",
            [layer.input, f"{name}_weight_int{bits}", f"{name}_scales"],
            [f"{name}_product"],
            name=f"{name}_matmul",
            domain=_DOMAIN,
            K=rows,
            N=columns,
            bits=bits,
            block_size=block_size,
            accuracy_level=_ACCURACY_LEVEL,
        ),
    ]
