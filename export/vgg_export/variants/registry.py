"""The variants that can be exported: one line each in :data:`VARIANTS`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vgg_calibration.precisions import PRECISIONS, RangesUse, write_quantized
from vgg_calibration.quantizers.base import QuantizationContext
from vgg_export.exporters.onnx import torch2onnx
from vgg_export.exporters.preprocessing import prepend_preprocessing
from vgg_export.exporters.torch_int8 import torch_linear_int8_dynamic
from vgg_export.exporters.torchscript import torch2torchscript
from vgg_export.variants.tolerances import (
    FLOAT_ROUNDING,
    HALF_ROUNDING,
    INT4_WEIGHTS,
    INT8_ACTIVATIONS,
    INT8_LINEAR,
    LOW_RANK,
)
from vgg_runtime._internal.cpu import available_threads
from vgg_runtime.backends.base import SessionConfig
from vgg_runtime.backends.registry import open_backend
from vgg_runtime.bundle.manifest import InputSpec, OutputSpec, Tolerance
from vgg_runtime.errors import UsageError
from vgg_runtime.loading import ENGINES

if TYPE_CHECKING:
    from torch import nn

    from vgg_export.eager import Run
    from vgg_runtime.imaging.preprocessing import Preprocessing

__all__ = [
    "LOW_RANK_VARIANTS",
    "QUANTIZE_OPTIONS",
    "VARIANTS",
    "ExportContext",
    "VariantSpec",
    "WrittenFiles",
    "open_variant",
    "select_variants",
]

Format = Literal["onnx", "torchscript"]
Network = Literal["original", "lowrank"]

MODEL_FILE: dict[Format, str] = {"onnx": "model.onnx", "torchscript": "model.pt"}


@dataclass(frozen=True)
class ExportContext:
    """Everything that variants are written from.

    Attributes:
        module: the network in eval mode, the original or its low-rank replacement.
        network: which of the two it is.
        input_spec: the input of the network.
        output_spec: the output of every variant.
        opset: version of the ONNX operator set.
        single_file: whether the weights go inside the ``.onnx`` file.
        metadata: metadata of every file.
        staging: directory that the bundle is written to; a variant may use those above it in the table.
        quantization: target and ranges for the quantized variants.
        int8_static_in_float: names of the nodes that int8-static leaves in float.
        int8_static_notes: notes on that choice.
        embedded: the preprocessing embedded in every variant; None if variants take the input of the network.
    """

    module: nn.Module
    input_spec: InputSpec
    output_spec: OutputSpec
    opset: int
    single_file: bool
    metadata: Mapping[str, str]
    staging: Path
    quantization: QuantizationContext = field(default_factory=QuantizationContext)
    int8_static_in_float: frozenset[str] = frozenset()
    int8_static_notes: tuple[str, ...] = ()
    embedded: Preprocessing | None = None
    network: Network = "original"

    @property
    def float_onnx(self) -> Path:
        """The float ONNX variant of the network, from which the quantized ones are made."""
        return self.staging / replace(ONNX_FP32, network=self.network).file


@dataclass(frozen=True)
class WrittenFiles:
    """What was written, besides the model file itself.

    Attributes:
        external_data: path of the file with its large weights, None if they are in the model's file.
        notes: what was quantized, and how.
        layers: number of layers with weights, None if not counted.
        in_float: names of those that a quantized variant keeps in float.
    """

    external_data: Path | None = None
    notes: tuple[str, ...] = ()
    layers: int | None = None
    in_float: tuple[str, ...] = ()


@dataclass(frozen=True)
class VariantSpec:
    """How one variant is written and verified.

    Attributes:
        tolerance: the agreement that it must reach.
        write: writes the model to the given path.
        quantize: the value of ``--quantize`` that requests it, None if it is always exported.
        has_accuracy_target: whether ``--min-agreement`` and ``--min-snr`` apply to it.
        network: which network is written, the original or the low-rank one.
    """

    format: Format
    precision: str
    tolerance: Tolerance
    write: Callable[[ExportContext, Path], WrittenFiles]
    quantize: str | None = None
    has_accuracy_target: bool = False
    network: Network = "original"

    @property
    def name(self) -> str:
        """``<format>-<precision>``, or ``<format>-lowrank-<precision>``."""
        return f"{self.format}-{'lowrank-' * self.is_low_rank}{self.precision}"

    @property
    def is_low_rank(self) -> bool:
        return self.network == "lowrank"

    @property
    def may_be_left_out(self) -> bool:
        """Whether a miss leaves it out; if a float variant of the original misses, the export itself is wrong."""
        return self.quantize is not None or self.is_low_rank

    @property
    def file(self) -> str:
        """Path of the model inside the bundle."""
        return f"{self.name}/{MODEL_FILE[self.format]}"

    @property
    def ranges(self) -> RangesUse:
        """Whether it uses ranges of activations, which need real images."""
        return PRECISIONS[self.precision].ranges if self.precision in PRECISIONS else "unused"


def _onnx_fp32(context: ExportContext, file: Path) -> WrittenFiles:
    data = torch2onnx(
        context.module,
        file,
        input_spec=context.input_spec,
        output_spec=context.output_spec,
        opset=context.opset,
        single_file=context.single_file,
        metadata=context.metadata,
    )
    return WrittenFiles(data)


def _torchscript_fp32(context: ExportContext, file: Path) -> WrittenFiles:
    _torchscript(context, context.module, file)
    return WrittenFiles()


def _torchscript_int8_dynamic(context: ExportContext, file: Path) -> WrittenFiles:
    _torchscript(context, torch_linear_int8_dynamic(context.module), file)
    return WrittenFiles(notes=("fully connected layers quantized",))


def _torchscript(context: ExportContext, module: nn.Module, file: Path) -> None:
    input_spec = context.input_spec
    if context.embedded is not None:
        module, input_spec = prepend_preprocessing(module, context.embedded), input_spec.as_pixels()
    torch2torchscript(module, file, input_spec=input_spec, metadata=context.metadata)


def _quantized(precision: str) -> Callable[[ExportContext, Path], WrittenFiles]:
    """Return the function that quantizes the float ONNX variant to ``precision``."""

    def write(context: ExportContext, file: Path) -> WrittenFiles:
        quantized = write_quantized(
            context.float_onnx, file, PRECISIONS[precision], context.quantization, single_file=context.single_file
        )
        return WrittenFiles(quantized.external_data, quantized.notes, quantized.layers, quantized.in_float)

    return write


def _onnx_int8_static(context: ExportContext, file: Path) -> WrittenFiles:
    quantization = replace(context.quantization, in_float=context.int8_static_in_float)
    files = _quantized("int8-static")(replace(context, quantization=quantization), file)
    return replace(files, notes=(*files.notes, *context.int8_static_notes))


ONNX_FP32 = VariantSpec("onnx", "fp32", FLOAT_ROUNDING, _onnx_fp32)

VARIANTS: tuple[VariantSpec, ...] = (
    ONNX_FP32,
    VariantSpec("onnx", "fp16", HALF_ROUNDING, _quantized("fp16"), "fp16"),
    VariantSpec("onnx", "int8-dynamic", INT8_LINEAR, _quantized("int8-dynamic"), "dynamic"),
    VariantSpec("onnx", "int8-static", INT8_ACTIVATIONS, _onnx_int8_static, "static", has_accuracy_target=True),
    VariantSpec("onnx", "int8-weights", INT8_LINEAR, _quantized("int8-weights"), "int8-weights"),
    VariantSpec("onnx", "int4-weights", INT4_WEIGHTS, _quantized("int4-weights"), "int4-weights"),
    VariantSpec("torchscript", "fp32", FLOAT_ROUNDING, _torchscript_fp32),
    VariantSpec("torchscript", "int8-dynamic", INT8_LINEAR, _torchscript_int8_dynamic, "dynamic"),
)

# The same for the network of --compress, for which the gate has its own rule.
LOW_RANK_VARIANTS = tuple(
    replace(spec, network="lowrank", tolerance=LOW_RANK, has_accuracy_target=False) for spec in VARIANTS
)

QUANTIZE_OPTIONS = tuple(dict.fromkeys(spec.quantize for spec in VARIANTS if spec.quantize))


def select_variants(
    formats: Collection[str], quantize: Collection[str], *, compress: bool = False
) -> tuple[VariantSpec, ...]:
    """Return the variants of ``formats``: float32 always, the others if ``quantize`` asks for them.

    Args:
        compress: whether to add each for the low-rank network too.

    Raises:
        UsageError: a quantization is not available in any of the formats.
    """
    specs = [
        spec
        for spec in (*VARIANTS, *LOW_RANK_VARIANTS * compress)
        if spec.format in formats and (spec.quantize is None or spec.quantize in quantize)
    ]
    if missing := sorted(set(quantize) - {spec.quantize for spec in specs}):
        raise UsageError(
            f"`quantize={missing}` is not available for the format {', '.join(formats)}.",
            hint=f"Available for onnx: {', '.join(QUANTIZE_OPTIONS)}; for torchscript: dynamic.",
        )
    return tuple(specs)


def open_variant(spec: VariantSpec, directory: Path) -> Run:
    """Return the variant in the bundle at ``directory`` as a function, run on the CPU by its own engine."""
    return open_backend(ENGINES[spec.format], directory / spec.file, SessionConfig("cpu", available_threads())).run
