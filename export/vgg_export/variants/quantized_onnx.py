"""Writing an ONNX variant: the float one read back, taken through quantizers, and saved beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vgg_calibration.layouts.gemm import Layout
from vgg_calibration.onnx_io import read_onnx, write_onnx
from vgg_calibration.quantizers.base import QuantizationContext, Quantizer
from vgg_runtime.errors import CalibrationError

if TYPE_CHECKING:
    import onnx

__all__ = ["QuantizedFile", "layer_names", "write_quantized"]

# Operators that hold weights.
_LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True)
class QuantizedFile:
    """What was written besides the model.

    Attributes:
        external_data: path of the file with its large weights, None where they are inside the model's.
        notes: what was quantized, and how.
        layers: how many layers with weights the network has.
        in_float: what those are called that stayed in float.
    """

    external_data: Path | None
    notes: tuple[str, ...]
    layers: int
    in_float: tuple[str, ...]


def write_quantized(
    source: Path,
    file: Path,
    quantizers: Sequence[Quantizer],
    context: QuantizationContext,
    layouts: Sequence[Layout] = (),
    *,
    single_file: bool,
) -> QuantizedFile:
    """Take the float model in ``source`` through ``quantizers``, then ``layouts``, and write it to ``file``.

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
    notes += _padding_notes(model, layers)
    for layout in layouts:
        layout(model)
    data = write_onnx(model, file, single_file=single_file)
    return QuantizedFile(data, tuple(notes), len(layers), tuple(in_float))


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
