"""Writing every variant of a plan into the staging directory, calibrating on the way where one of them asks for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from vgg_calibration.quantizers.base import QuantizationContext
from vgg_calibration.targets import TARGETS
from vgg_export.exporters.preprocessing import embed_preprocessing
from vgg_export.planning.plan import Plan
from vgg_export.progress import OnNote, OnStep, ignore_notes
from vgg_export.variants.registry import ONNX_FP32, ExportContext, VariantSpec
from vgg_export.variants.tolerances import INT8_ACTIVATIONS
from vgg_export.verification.reference import Reference
from vgg_export.writing.calibration import calibrate
from vgg_runtime.bundle.checksums import sha256_of
from vgg_runtime.bundle.embedded_manifest import METADATA_KEY
from vgg_runtime.bundle.manifest import Calibration, InputSpec, Manifest, Variant

__all__ = ["write_variants"]


def write_variants(
    plan: Plan,
    manifest: Manifest,
    reference: Reference,
    staging: Path,
    *,
    on_step: OnStep,
    on_note: OnNote = ignore_notes,
) -> Manifest:
    """Write the files of every recipe of ``plan`` below ``staging``.

    Args:
        manifest: what is known so far; this much travels inside the files.
        reference: eager PyTorch on the images held out, which int8-static has to reach where it is verified.
        on_note: called with a line of text for each calibration image that was skipped.

    Returns:
        the manifest with the variants, and with the calibration where there was one.

    Raises:
        ArchitectureError: PyTorch cannot trace the network.
        CalibrationError: it cannot be quantized as asked, or the calibration images are refused.
    """
    job = ExportContext(
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
    variants: dict[VariantSpec, Variant] = {}
    calibration = None
    for recipe in plan.recipes:
        if recipe.ranges != "unused" and calibration is None and plan.images.calibration is not None:
            job, calibration = _calibrated(plan, job, variants[ONNX_FP32], reference, on_step=on_step, on_note=on_note)
        on_step(f"writing {recipe.name}")
        variants[recipe] = _write(recipe, job)
    # Only now: quantizers read the float variant as it came from the network.
    finished = tuple(_embedded(variant, job, manifest.input) for variant in variants.values())
    return replace(manifest, variants=finished, calibration=calibration)


def _calibrated(
    plan: Plan, job: ExportContext, float_onnx: Variant, reference: Reference, *, on_step: OnStep, on_note: OnNote
) -> tuple[ExportContext, Calibration]:
    """Return the job with ranges of activations, for the variants that are written from now on, and their record."""
    assert plan.images.calibration is not None
    int8_static = next((recipe for recipe in plan.recipes if recipe.budgeted), None)
    calibrated = calibrate(
        job.staging / float_onnx.file,
        float_onnx.sha256,
        plan.images.calibration,
        plan.preprocessing,
        plan.options,
        input_spec=plan.input_spec,
        tolerance=INT8_ACTIVATIONS if int8_static is None else int8_static.tolerance,
        held_out=reference if plan.options.verify and int8_static is not None else None,
        on_step=on_step,
        on_note=on_note,
    )
    job = replace(
        job,
        quantization=calibrated.context,
        int8_static_in_float=calibrated.in_float,
        int8_static_notes=calibrated.notes,
    )
    return job, calibrated.record


def _write(recipe: VariantSpec, job: ExportContext) -> Variant:
    file = job.staging / recipe.file
    file.parent.mkdir()
    written = recipe.write(job, file)
    data = written.external_data
    files = [file] if data is None else [file, data]
    return Variant(
        name=recipe.name,
        format=recipe.format,
        precision=recipe.precision,
        file=recipe.file,
        external_data=None if data is None else data.relative_to(job.staging).as_posix(),
        bytes=sum(path.stat().st_size for path in files),
        sha256={path.relative_to(job.staging).as_posix(): sha256_of(path) for path in files},
        opset=job.opset if recipe.format == "onnx" else None,
        target=job.quantization.target.name if recipe.quantize else None,
        notes=written.notes,
        layers=written.layers,
        in_float=written.in_float,
    )


def _embedded(variant: Variant, job: ExportContext, input_spec: InputSpec) -> Variant:
    """Return ``variant`` with preprocessing in its ONNX file, where that is asked for; TorchScript has it already."""
    if job.embedded is None or variant.format != "onnx":
        return variant
    file = job.staging / variant.file
    before = file.stat().st_size
    embed_preprocessing(file, job.embedded, input_spec)
    bytes_ = variant.bytes + file.stat().st_size - before
    return replace(variant, bytes=bytes_, sha256=variant.sha256 | {variant.file: sha256_of(file)})
