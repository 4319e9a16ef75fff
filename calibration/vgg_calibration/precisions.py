"""The precisions that a float ONNX model can be quantized to: one entry each in :data:`PRECISIONS`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vgg_calibration.layouts.gemm import Layout, gemm_outputs_split, gemm_weights_untransposed
from vgg_calibration.onnx_io import read_onnx, write_onnx
from vgg_calibration.quantizers.base import QuantizationContext, Quantizer
from vgg_calibration.quantizers.fp16 import conv_weights_fp16, float16
from vgg_calibration.quantizers.int8_dynamic import quantize_linear_dynamic
from vgg_calibration.quantizers.int8_static import quantize_static_int8
from vgg_calibration.quantizers.weight_only import quantize_linear_weights_blockwise
from vgg_runtime.errors import CalibrationError

if TYPE_CHECKING:
    import onnx

__all__ = ["GEMM_LAYOUTS", "PRECISIONS", "Precision", "QuantizedFile", "layer_names", "write_quantized"]

RangesUse = Literal["unused", "used where given", "required"]

# Operators with weights.
_LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True)
class Precision:
    """The recipe that turns a float model into one of this precision.

    Attributes:
        name: such as "int8-static".
        quantizers: applied in this order.
        layouts: applied after them.
        ranges: whether it uses ranges of activations, which need real images.
    """

    name: str
    quantizers: tuple[Quantizer, ...]
    layouts: tuple[Layout, ...] = ()
    ranges: RangesUse = "unused"


@dataclass(frozen=True)
class QuantizedFile:
    """The result of quantizing a model.

    Attributes:
        quantized: names of the layers with weights that were quantized.
        in_float: names of the layers that stayed in float.
        notes: what was quantized, and how, in words.
        external_data: path of the file with the large weights, None if they are in the model's file.

    Examples:
        >>> from vgg_calibration import quantize
        >>> quantized = quantize("model.onnx", "model.fp16.onnx", "fp16")
        >>> quantized.layers, quantized.in_float, quantized.notes
        (8, (), ('8 of 8 layers with weights quantized',))
    """

    quantized: tuple[str, ...]
    in_float: tuple[str, ...]
    notes: tuple[str, ...]
    external_data: Path | None = None

    @property
    def layers(self) -> int:
        """Number of layers with weights in the network."""
        return len(self.quantized) + len(self.in_float)


# In this order, so that weights are split in the layout in which they are packed.
GEMM_LAYOUTS = (gemm_weights_untransposed, gemm_outputs_split)

# 256 inputs share a scale, the engine's largest block, so that an 8-bit weight takes less than 1.02 bytes.
linear_weights_int8 = partial(quantize_linear_weights_blockwise, bits=8, block_size=256)
# 128 share a scale: smaller blocks are more accurate, but 64 would make a VGG-16 4 % larger.
linear_weights_int4 = partial(quantize_linear_weights_blockwise, bits=4, block_size=128)


def convolutions_int8_or_fp16(model: onnx.ModelProto, context: QuantizationContext) -> list[str]:
    """Quantize convolutions to int8 if ranges are known, else to float16 weights, which need none."""
    if context.ranges:
        return quantize_static_int8(model, context, layer_types=("Conv",))
    return conv_weights_fp16(model, context)


PRECISIONS: dict[str, Precision] = {
    precision.name: precision
    for precision in (
        Precision("fp16", (float16,)),
        Precision("int8-dynamic", (quantize_linear_dynamic,)),
        Precision("int8-static", (quantize_static_int8,), GEMM_LAYOUTS, "required"),
        Precision("int8-weights", (linear_weights_int8, conv_weights_fp16)),
        Precision("int4-weights", (convolutions_int8_or_fp16, linear_weights_int4), ranges="used where given"),
    )
}


def write_quantized(
    source: Path, file: Path, precision: Precision, context: QuantizationContext, *, single_file: bool
) -> QuantizedFile:
    """Quantize the float model in ``source`` to ``precision`` and write it to ``file``.

    Args:
        single_file: whether the weights go inside ``file`` instead of beside it.

    Raises:
        CalibrationError: there is nothing to quantize.
    """
    model = read_onnx(source)
    layers = layer_names(model)
    operators = sorted({node.op_type for node in model.graph.node})
    changed = {name for quantizer in precision.quantizers for name in quantizer(model, context)}
    if not changed:
        raise CalibrationError(
            f"{precision.name}: the network has nothing to quantize in this way; its operators: "
            f"{', '.join(operators)}.",
            hint="int8-dynamic quantizes only fully connected layers, the other precisions convolutions too.",
        )
    for layout in precision.layouts:
        layout(model)
    quantized = tuple(label for name, label in layers.items() if name in changed)
    in_float = tuple(label for name, label in layers.items() if name not in changed)
    notes = [f"{len(quantized)} of {len(layers)} layers with weights quantized", *_padding_notes(model, layers)]
    return QuantizedFile(quantized, in_float, tuple(notes), write_onnx(model, file, single_file=single_file))


def _padding_notes(model: onnx.ModelProto, layers: Mapping[str, str]) -> list[str]:
    """Name the layers whose last block is padded with zeros, as the block size does not divide their inputs."""
    notes = []
    for node in model.graph.node:
        sizes = {item.name: item.i for item in node.attribute}
        if node.op_type == "MatMulNBits" and sizes["K"] % sizes["block_size"]:
            label = layers[node.name.removesuffix("_matmul")]
            notes.append(f"padded: {label}, {sizes['K']} inputs in blocks of {sizes['block_size']}")
    return notes


def layer_names(model: onnx.ModelProto) -> dict[str, str]:
    """Return the display name of each layer with weights, by node: the module's name if it is known."""
    constants = {tensor.name for tensor in model.graph.initializer}
    return {
        node.name: node.input[1].removesuffix(".weight")
        for node in model.graph.node
        if node.op_type in _LAYERS and len(node.input) > 1 and node.input[1] in constants
    }
