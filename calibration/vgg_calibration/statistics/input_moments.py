"""The second moments of every layer's input, which tell how much a change of weights changes the output."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import helper

from vgg_calibration.quantizers.int8_static import LAYER_TYPES
from vgg_calibration.statistics.collect import session_with_outputs

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["measure_input_moments"]

# 3 x 3 over 256 channels: 42 MB of moments. Wider layers average out many rounding errors anyway.
MAX_COLUMNS = 2304

# Positions per image at which a convolution's input is sampled; neighbouring ones are similar.
POSITIONS = 1024


def measure_input_moments(file: Path, batches: Iterable[NDArray[np.float32]]) -> dict[str, NDArray[np.float64]]:
    """Return the sum of ``x x^T`` over the inputs ``x`` of each layer of the float model in ``file``, by weight.

    An input is what one output is computed from: the row of a matrix, or the patch under a convolution's kernel. The
    moments are float64 (groups, columns, columns), where ``columns`` is the length of a weight's row. Left out are
    layers that share a weight or have more than :data:`MAX_COLUMNS` columns.

    Args:
        batches: float32, NCHW.
    """
    model = onnx.load(file, load_external_data=False)
    layers = _layers(model)
    network_input = model.graph.input[0].name
    names = [name for name in dict.fromkeys(node.input[0] for node, _ in layers) if name != network_input]
    moments: dict[str, NDArray[np.float64]] = {}
    with session_with_outputs(model, names, beside=file) as session:
        for batch in batches:
            # Without names, a session returns all outputs.
            computed = session.run(names, {network_input: batch}) if names else []
            values = dict(zip(names, computed, strict=True)) | {network_input: batch}
            for node, shape in layers:
                inputs = _inputs(node, shape, values[node.input[0]]).astype(np.float64)
                moments[node.input[1]] = moments.get(node.input[1], 0) + inputs.transpose(0, 2, 1) @ inputs
    return moments


def _layers(model: onnx.ModelProto) -> list[tuple[onnx.NodeProto, tuple[int, ...]]]:
    """Return the nodes to measure, each with the shape of its weight."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    uses = Counter(name for node in model.graph.node for name in node.input)
    return [
        (node, shapes[node.input[1]])
        for node in model.graph.node
        if node.op_type in LAYER_TYPES and uses[node.input[1]] == 1 and _is_small(node, shapes.get(node.input[1], ()))
    ]


def _is_small(node: onnx.NodeProto, shape: tuple[int, ...]) -> bool:
    """Whether the weight is a constant matrix, or a two-dimensional convolution's, with few enough columns."""
    if node.op_type == "Conv":
        padded_by_numbers = _attributes(node).get("auto_pad", b"NOTSET") == b"NOTSET"
        return len(shape) == 4 and padded_by_numbers and int(np.prod(shape[1:])) <= MAX_COLUMNS
    return len(shape) == 2 and shape[1 if _attributes(node).get("transB") else 0] <= MAX_COLUMNS


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {item.name: helper.get_attribute_value(item) for item in node.attribute}


def _inputs(node: onnx.NodeProto, shape: tuple[int, ...], values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the inputs of a layer as (groups, inputs, columns)."""
    if node.op_type != "Conv":
        return values.reshape(1, -1, values.shape[-1])
    attributes = _attributes(node)
    top, left, bottom, right = attributes.get("pads", (0, 0, 0, 0))
    padded = np.pad(values, ((0, 0), (0, 0), (top, bottom), (left, right)))
    groups, (dilation_y, dilation_x) = attributes.get("group", 1), attributes.get("dilations", (1, 1))
    height, width = shape[2:]
    extent = ((height - 1) * dilation_y + 1, (width - 1) * dilation_x + 1)
    windows = np.lib.stride_tricks.sliding_window_view(padded, extent, axis=(2, 3))
    stride_y, stride_x = attributes.get("strides", (1, 1))
    windows = windows[:, :, ::stride_y, ::stride_x, ::dilation_y, ::dilation_x]
    count = windows.shape[2] * windows.shape[3]
    positions = np.linspace(0, count - 1, min(count, POSITIONS)).astype(np.int64)
    patches = windows[:, :, positions // windows.shape[3], positions % windows.shape[3]]
    images, channels = patches.shape[:2]
    grouped = patches.reshape(images, groups, channels // groups, len(positions), height, width)
    return grouped.transpose(1, 0, 3, 2, 4, 5).reshape(groups, images * len(positions), -1)
