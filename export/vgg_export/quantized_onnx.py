"""Writing an ONNX variant: the float one read back, taken through quantizers, and saved beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vgg_calibration.layouts import Layout
from vgg_calibration.onnx_file import read_onnx, write_onnx
from vgg_calibration.quantizers import Context, Quantizer
from vgg_runtime.errors import CalibrationError

if TYPE_CHECKING:
    import onnx

__all__ = ["layer_names", "write_quantized"]

# Operators that hold weights.
_LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def write_quantized(
    source: Path,
    file: Path,
    quantizers: Sequence[Quantizer],
    context: Context,
    layouts: Sequence[Layout] = (),
    *,
    single_file: bool,
) -> tuple[Path | None, tuple[str, ...]]:
    """Take the float model in ``source`` through ``quantizers``, then ``layouts``, and write it to ``file``.

    Returns:
        the path of the external data or None, and notes on what was quantized and what stayed in float.

    Raises:
        CalibrationError: the quantizers found nothing to quantize.
    """
    model = read_onnx(source)
    layers = layer_names(model)
    kinds = sorted({node.op_type for node in model.graph.node})
    quantized = {name for quantizer in quantizers for name in quantizer(model, context)}
    in_float = [label for name, label in layers.items() if name not in quantized]
    if not quantized:
        raise CalibrationError(
            f"{file.parent.name}: the network has nothing to quantize in this way; its operators: {', '.join(kinds)}.",
            hint="dynamic, int8-weights and int4-weights quantize fully connected layers, static convolutions too.",
        )
    notes = [f"{len(layers) - len(in_float)} of {len(layers)} layers with weights quantized"]
    if in_float:
        notes.append(f"in float: {', '.join(in_float)}")
    notes += _padding_notes(model, layers)
    for layout in layouts:
        layout(model)
    return write_onnx(model, file, single_file=single_file), tuple(notes)


def _padding_notes(model: onnx.ModelProto, layers: Mapping[str, str]) -> list[str]:
    """Say which layers' inputs their blocks do not divide; the last block is filled up with zeros."""
    notes = []
    for node in model.graph.node:
        sizes = {item.name: item.i for item in node.attribute}
        if node.op_type == "MatMulNBits" and sizes["K"] % sizes["block_size"]:
            label = layers[node.name.removesuffix("_matmul")]
            notes.append(f"padded: {label}, {sizes['K']} inputs in blocks of {sizes['block_size']}")
    return notes


def layer_names(model: onnx.ModelProto) -> dict[str, str]:
    """Return what to call each layer with weights, by the name of its node: the module's name where it is known."""
    constants = {tensor.name for tensor in model.graph.initializer}
    return {
        node.name: node.input[1].removesuffix(".weight")
        for node in model.graph.node
        if node.op_type in _LAYERS and len(node.input) > 1 and node.input[1] in constants
    }
