"""Writing every variant of a plan into the staging directory, with calibration if one of them needs it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from vgg_calibration.quantizers.base import QuantizationContext
from vgg_calibration.statistics.images import CalibrationImages, read_calibration_images
from vgg_calibration.targets import TARGETS
from vgg_export.eager import eager_function
from vgg_export.exporters.preprocessing import embed_preprocessing
from vgg_export.planning.plan import Plan
from vgg_export.progress import OnNote, OnStep, ignore_notes
from vgg_export.variants.registry import ExportContext, VariantSpec
from vgg_export.variants.tolerances import INT8_ACTIVATIONS
from vgg_export.verification.gate import judge
from vgg_export.verification.reference import Reference
from vgg_export.writing.calibration import calibrate, read_images
from vgg_export.writing.compression import COMPARED_IMAGES, CompressedNetwork, compress
from vgg_export.writing.tuning import tune
from vgg_runtime.bundle.checksums import sha256_of
from vgg_runtime.bundle.embedded_manifest import METADATA_KEY
from vgg_runtime.bundle.manifest import Calibration, InputSpec, Manifest, Tuning, Variant
from vgg_runtime.imaging.folders import choose_images

if TYPE_CHECKING:
    from torch import nn

__all__ = ["write_variants"]

# Share of what a low-rank variant may lose that is kept for quantization, where there is one.
QUANTIZATION_ROOM = 0.25


def write_variants(
    plan: Plan,
    manifest: Manifest,
    reference: Reference,
    staging: Path,
    *,
    on_step: OnStep,
    on_note: OnNote = ignore_notes,
) -> Manifest:
    """Write the files of every variant of ``plan`` below ``staging``.

    Args:
        manifest: the manifest so far, which is written into the files.
        reference: eager PyTorch on the images held out, which int8-static has to agree with if it is verified.
        on_note: called with a line of text for each calibration image that was skipped, and if
            a tuning cannot be resumed.

    Returns:
        the manifest with the variants, and with the calibration if there was one.

    Raises:
        ArchitectureError: PyTorch cannot trace the network.
        CalibrationError: it cannot be quantized as requested, or the calibration images are refused.
    """
    writer = _Writer(plan, reference, on_step, on_note)
    context = ExportContext(
        module=plan.loaded.module,
        input_spec=plan.input_spec,
        output_spec=manifest.output,
        opset=plan.options.onnx.opset,
        single_file=plan.options.onnx.single_file,
        metadata={METADATA_KEY: manifest.dump()},
        staging=staging,
        quantization=QuantizationContext(TARGETS[plan.options.quantize.target]),
        embedded=plan.preprocessing if plan.options.embed_preprocessing else None,
    )
    variants, calibration = writer.write(context)
    compression = None
    if plan.options.compresses:
        compressed = writer.compress()
        low_rank = replace(context, module=compressed.module, network="lowrank")
        low_rank_variants, low_rank_calibration = writer.write(low_rank)
        variants |= low_rank_variants
        compression = replace(compressed.record, calibration=low_rank_calibration)
    # Only now, because quantizers read the original float variant.
    finished = tuple(_embedded(variant, context, manifest.input) for variant in variants.values())
    return replace(manifest, variants=finished, calibration=calibration, compression=compression)


class _Writer:
    """Writes the variants of one network after the other, reading calibration images once."""

    def __init__(self, plan: Plan, reference: Reference, on_step: OnStep, on_note: OnNote) -> None:
        self._plan = plan
        self._reference = reference
        self._on_step = on_step
        self._on_note = on_note

    @cached_property
    def _images(self) -> CalibrationImages:
        return read_images(self._plan, self._on_step, self._on_note)

    def write(self, context: ExportContext) -> tuple[dict[VariantSpec, Variant], Calibration | None]:
        """Write the variants of ``context.network``; return them, and their calibration if one needs ranges."""
        variants: dict[VariantSpec, Variant] = {}
        calibration = None
        for spec in (spec for spec in self._plan.variant_specs if spec.network == context.network):
            if spec.ranges != "unused" and calibration is None and self._plan.images.calibration is not None:
                context, calibration = self._calibrated(context, next(iter(variants.values())))
            self._on_step(f"writing {spec.name}")
            variants[spec] = _write(spec, context)
        return variants, calibration

    def compress(self) -> CompressedNetwork:
        """Create the low-rank network that replaces the original."""
        plan, options = self._plan, self._plan.options.compress
        assert options.speedup is not None
        return compress(
            plan.loaded.module,
            self._images,
            speedup=None if options.speedup == "auto" else options.speedup,
            min_agreement=options.min_agreement,
            other=self._other_images(options.samples_other),
            judge=self._judge_low_rank,
            tune=None if options.tune is None else self._tune,
            seed=plan.options.seed,
            on_step=self._on_step,
        )

    def _calibrated(self, context: ExportContext, float_onnx: Variant) -> tuple[ExportContext, Calibration]:
        """Return the context with ranges of activations, for the following variants, and their record."""
        int8_static = next((spec for spec in self._plan.variant_specs if spec.has_accuracy_target), None)
        # A low-rank network is quantized to keep its own predictions; the gate compares them with the original's.
        is_held_to_eager = self._plan.options.verify and int8_static is not None and context.network == "original"
        calibrated = calibrate(
            context.float_onnx,
            float_onnx.sha256,
            self._images,
            self._plan.options,
            batch_size=context.input_spec.batch_size or 1,
            tolerance=INT8_ACTIVATIONS if int8_static is None else int8_static.tolerance,
            held_out=self._reference if is_held_to_eager else None,
            on_step=self._on_step,
        )
        context = replace(
            context,
            quantization=calibrated.context,
            int8_static_in_float=calibrated.in_float,
            int8_static_notes=calibrated.notes,
        )
        return context, calibrated.record

    def _judge_low_rank(self, network: nn.Module) -> str | None:
        """Say what the low-rank network itself misses of the gate, with room for what quantization will add."""
        if not self._plan.options.verify:
            return None
        options = self._plan.options
        if options.quantize.methods:
            options = replace(options, compress=options.compress.with_room(QUANTIZATION_ROOM))
        spec = next(spec for spec in self._plan.variant_specs if spec.is_low_rank)
        outputs = self._reference.run(spec.name, eager_function(network), self._on_step)
        return judge(replace(self._plan, options=options), self._reference, spec, outputs).shortfall

    def _tune(
        self, network: nn.Module, ranks: Mapping[str, int], images: CalibrationImages, compared: CalibrationImages
    ) -> tuple[nn.Module, Tuning]:
        """Train the low-rank network of ``ranks`` on ``images``."""
        return tune(
            network,
            self._plan,
            ranks,
            images,
            compared,
            sha256=self._images.sha256,
            on_step=self._on_step,
            on_note=self._on_note,
        )

    def _other_images(self, folder: str | os.PathLike[str] | None) -> CalibrationImages | None:
        if folder is None:
            return None
        files = choose_images(Path(folder), COMPARED_IMAGES, seed=self._plan.options.seed)
        return read_calibration_images(files, Path(folder), self._plan.preprocessing, self._plan.input_spec.size)


def _write(spec: VariantSpec, context: ExportContext) -> Variant:
    file = context.staging / spec.file
    file.parent.mkdir()
    files = spec.write(context, file)
    data = files.external_data
    paths = [file] if data is None else [file, data]
    return Variant(
        name=spec.name,
        format=spec.format,
        precision=spec.precision,
        file=spec.file,
        external_data=None if data is None else data.relative_to(context.staging).as_posix(),
        bytes=sum(path.stat().st_size for path in paths),
        sha256={path.relative_to(context.staging).as_posix(): sha256_of(path) for path in paths},
        opset=context.opset if spec.format == "onnx" else None,
        target=context.quantization.target.name if spec.quantize else None,
        notes=files.notes,
        layers=files.layers,
        in_float=files.in_float,
    )


def _embedded(variant: Variant, context: ExportContext, input_spec: InputSpec) -> Variant:
    """Return ``variant`` with preprocessing in its ONNX file, if that is asked for; TorchScript has it already."""
    if context.embedded is None or variant.format != "onnx":
        return variant
    file = context.staging / variant.file
    before = file.stat().st_size
    embed_preprocessing(file, context.embedded, input_spec)
    bytes_ = variant.bytes + file.stat().st_size - before
    return replace(variant, bytes=bytes_, sha256=variant.sha256 | {variant.file: sha256_of(file)})
