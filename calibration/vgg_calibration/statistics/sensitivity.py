"""Sensitivity of layers: the loss from quantizing each one by itself, in one pass over images."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import onnx
from onnx import helper, numpy_helper

from vgg_calibration.onnx_io import read_tensor
from vgg_calibration.quantizers.base import QuantizationContext
from vgg_calibration.quantizers.int8_static import LAYER_TYPES
from vgg_calibration.ranges.methods import LEVELS, Range
from vgg_calibration.statistics.collect import session_with_outputs
from vgg_runtime.backends.onnxruntime_cpu import import_onnxruntime

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["LayerSensitivity", "measure_sensitivity", "output_axis"]


@dataclass(frozen=True)
class LayerSensitivity:
    """A layer with an 8-bit input and 8-bit weights, compared with the float layer on the same float input.

    Attributes:
        node: name of the node.
        weight: name of its weight tensor.
        operator: its type, such as "Conv".
        bytes_saved: bytes that 8-bit weights save.
        snr_db: signal-to-noise ratio of its output in dB; infinity if both are equal.

    Examples:
        >>> from vgg_calibration import LayerSensitivity
        >>> layers = [
        ...     LayerSensitivity("conv1", "features.0.weight", "Conv", bytes_saved=864, snr_db=38.2),
        ...     LayerSensitivity("fc1", "classifier.0.weight", "Gemm", bytes_saved=786_432, snr_db=43.5),
        ... ]
        >>> min(layers, key=lambda layer: layer.snr_db).node
        'conv1'
    """

    node: str
    weight: str
    operator: str
    bytes_saved: int
    snr_db: float


@dataclass
class _Layer:
    node: onnx.NodeProto
    bytes_saved: int
    session: Any
    signal: float = 0.0
    noise: float = 0.0

    def add(self, inputs: NDArray[np.float32], outputs: NDArray[np.float32]) -> None:
        difference = self.session.run(None, {self.node.input[0]: inputs})[0].astype(np.float64) - outputs
        self.noise += float(np.sum(difference**2))
        self.signal += float(np.sum(outputs.astype(np.float64) ** 2))

    def result(self) -> LayerSensitivity:
        decibels = math.inf if self.noise == 0 else 10 * math.log10(max(self.signal, 1e-300) / self.noise)
        return LayerSensitivity(self.node.name, self.node.input[1], self.node.op_type, self.bytes_saved, decibels)


def measure_sensitivity(
    file: Path, context: QuantizationContext, batches: Iterable[NDArray[np.float32]]
) -> list[LayerSensitivity]:
    """Return the sensitivity of each layer with weights of the float model in ``file``, in the order of the graph.

    Each layer runs in a small session with 8-bit weights; the float model gives the input and the output of every
    layer, so all layers are measured in one pass.

    Args:
        context: has the ranges of every float activation.
        batches: float32, NCHW.
    """
    model = onnx.load(file, load_external_data=False)
    layers = _layers(model, file, context)
    names = list(dict.fromkeys(name for layer in layers for name in (layer.node.input[0], layer.node.output[0])))
    network_input = model.graph.input[0].name
    wanted = [name for name in names if name != network_input]
    with session_with_outputs(model, wanted, beside=file) as session:
        for batch in batches:
            values = dict(zip(wanted, session.run(wanted, {network_input: batch}), strict=True)) | {
                network_input: batch
            }
            for layer in layers:
                layer.add(values[layer.node.input[0]], values[layer.node.output[0]])
    return [layer.result() for layer in layers]


def _layers(model: onnx.ModelProto, file: Path, context: QuantizationContext) -> list[_Layer]:
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    layers = []
    for node in model.graph.node:
        if node.op_type in LAYER_TYPES and node.input[1] in constants and node.input[0] in context.ranges:
            weight = cast("NDArray[np.float32]", read_tensor(constants[node.input[1]], beside=file))
            bias = [numpy_helper.from_array(read_tensor(constants[name], beside=file), name) for name in node.input[2:]]
            to_round = context.weights.get(node.input[1], weight)
            input_range, levels = context.ranges[node.input[0]], context.target.weight_levels
            small = _quantized_layer(node, to_round, bias, input_range, levels=levels, opsets=model.opset_import)
            layers.append(_Layer(node, 3 * weight.size, _session(small)))
    return layers


def _quantized_layer(
    node: onnx.NodeProto,
    weight: NDArray[np.float32],
    bias: list[onnx.TensorProto],
    input_range: Range,
    *,
    levels: int,
    opsets: Iterable[onnx.OperatorSetIdProto],
) -> onnx.ModelProto:
    """A model of only this node: float input, quantized and dequantized; 8-bit weights, dequantized; float output."""
    axis = output_axis(node)
    max_level = np.float32(levels)
    others = tuple(i for i in range(weight.ndim) if i != axis)
    scale = np.maximum(np.abs(weight).max(axis=others), np.finfo(np.float32).tiny) / max_level
    shaped = scale.reshape([-1 if i == axis else 1 for i in range(weight.ndim)])
    step = np.float32(max((input_range.high - input_range.low) / (LEVELS - 1), float(np.finfo(np.float32).tiny)))
    zero_point = min(max(round(-input_range.low / float(step)), 0), LEVELS - 1)
    tensors = [
        numpy_helper.from_array(_levels(weight, shaped, max_level), "weight_int8"),
        numpy_helper.from_array(scale.astype(np.float32), "weight_scale"),
        numpy_helper.from_array(np.zeros(scale.shape, np.int8), "weight_zero_point"),
        numpy_helper.from_array(np.array(step), "input_scale"),
        numpy_helper.from_array(np.array(zero_point, np.uint8), "input_zero_point"),
    ]
    quantized = onnx.NodeProto()
    quantized.CopyFrom(node)
    quantized.input[0], quantized.input[1] = "input_float", "weight_float"
    around = ["input_scale", "input_zero_point"]
    weights = ["weight_int8", "weight_scale", "weight_zero_point"]
    nodes = [
        helper.make_node("QuantizeLinear", [node.input[0], *around], ["input_uint8"]),
        helper.make_node("DequantizeLinear", ["input_uint8", *around], ["input_float"]),
        helper.make_node("DequantizeLinear", weights, ["weight_float"], axis=axis),
        quantized,
    ]
    network_input = helper.make_tensor_value_info(node.input[0], onnx.TensorProto.FLOAT, None)
    graph = helper.make_graph(
        nodes, node.name, [network_input], [onnx.ValueInfoProto(name=node.output[0])], tensors + bias
    )
    return helper.make_model(graph, opset_imports=list(opsets), ir_version=10)


def _levels(weight: NDArray[np.float32], scale: NDArray[np.float32], max_level: np.float32) -> NDArray[np.int8]:
    """Return int8 levels, computed in place, as a VGG's first fully connected weight takes 411 MB."""
    levels = weight / scale
    np.rint(levels, out=levels)
    np.clip(levels, -max_level, max_level, out=levels)
    return levels.astype(np.int8)


def output_axis(node: onnx.NodeProto) -> int:
    """Return the axis of the weight's output channels: first in a convolution and a transposed Gemm, last otherwise."""
    transposed = any(item.name == "transB" and item.i for item in node.attribute)
    return 0 if node.op_type == "Conv" or transposed else 1


def _session(model: onnx.ModelProto) -> Any:
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    # Without optimization the weights stay in 8 bits instead of being folded back into float.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.enable_cpu_mem_arena = False  # frees the float weights of a call when it ends
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
