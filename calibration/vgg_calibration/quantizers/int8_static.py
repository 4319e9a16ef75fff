"""Weights and activations in int8, calibrated: the QDQ form that every engine fuses into integer kernels."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import helper, numpy_helper

from vgg_calibration.quantizers.base import QuantizationContext

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["LAYER_TYPES", "quantize_static_int8"]

# Layers with weights, which mixed precision may put back into float.
LAYER_TYPES = ("Conv", "Gemm", "MatMul")

# Operators that pass 8-bit values on, so that nothing in between goes back to float.
_PASSING_TYPES = (
    "Add",
    "AveragePool",
    "Clip",
    "Concat",
    "Flatten",
    "GlobalAveragePool",
    "MaxPool",
    "Relu",
    "Reshape",
    "Squeeze",
    "Transpose",
)


def quantize_static_int8(
    model: onnx.ModelProto, context: QuantizationContext, *, layer_types: Collection[str] = LAYER_TYPES
) -> list[str]:
    """Put QuantizeLinear and DequantizeLinear around the layers of ``layer_types``, and return their names.

    Activations are asymmetric uint8, weights symmetric int8 with one scale per output channel: the only combination
    that is fast on x86. The input and the output of the network stay float32.

    Args:
        context: has the ranges of every float activation, and possibly weights to quantize instead of the model's own.
        layer_types: operators with weights that are quantized.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantType
    from onnxruntime.quantization.calibrate import TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    layers = [node.name for node in model.graph.node if node.op_type in layer_types]
    quantized = [name for name in layers if name not in context.in_float]
    _replace_weights(model, quantized, context.weights)
    _declare_float(model, context.ranges)
    bounds = {name: (np.float32(span.low), np.float32(span.high)) for name, span in context.ranges.items()}
    quantizer = QDQQuantizer(
        model,
        per_channel=True,
        reduce_range=context.target.reduce_range,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, bounds),
        nodes_to_quantize=[],
        nodes_to_exclude=sorted({*context.in_float, *_nodes_on_integers(model, context.ranges)}),
        op_types_to_quantize=[*layer_types, *_PASSING_TYPES],
        # Gemm gives float, which the next layer quantizes anyway; so logits keep their resolution.
        extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm", "MatMul"]},
    )
    quantizer.quantize_model()
    model.CopyFrom(quantizer.model.model)
    _forget_declarations(model)
    return quantized


def _nodes_on_integers(model: onnx.ModelProto, ranges: Collection[str]) -> list[str]:
    """Names of the nodes that would pass 8-bit values on, but compute shapes: ``ranges`` has every float activation."""
    return [node.name for node in model.graph.node if node.op_type in _PASSING_TYPES and node.output[0] not in ranges]


def _replace_weights(
    model: onnx.ModelProto, layers: Collection[str], weights: Mapping[str, NDArray[np.float32]]
) -> None:
    """Replace the weights of the nodes ``layers`` by ``weights``; other nodes keep theirs."""
    replaced = {node.input[1] for node in model.graph.node if node.name in layers} & weights.keys()
    for tensor in model.graph.initializer:
        if tensor.name in replaced:
            tensor.CopyFrom(numpy_helper.from_array(weights[tensor.name], tensor.name))


# This tells the quantizer that shape inference has been done. Otherwise it would copy the model twice, weights
# included, to infer the types that _declare_float declares.
_INFERRED = ("onnx.infer", "onnxruntime.quant")


def _declare_float(model: onnx.ModelProto, names: Iterable[str]) -> None:
    declared = {value.name for value in (*model.graph.input, *model.graph.output)}
    model.graph.value_info.extend(
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names if name not in declared
    )
    model.metadata_props.add(key=_INFERRED[0], value=_INFERRED[1])


def _forget_declarations(model: onnx.ModelProto) -> None:
    del model.graph.value_info[:]
    entries = [entry for entry in model.metadata_props if (entry.key, entry.value) != _INFERRED]
    del model.metadata_props[:]
    model.metadata_props.extend(entries)
