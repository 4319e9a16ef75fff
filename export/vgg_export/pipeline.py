"""From a checkpoint to a bundle: plan, reference, files, parity, bundle."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from vgg_bench.measurement.machine import package_versions
from vgg_export.planning.options import (
    FORMATS,
    CalibrationOptions,
    CompressionOptions,
    ModelOptions,
    OnnxOptions,
    Options,
    Quantization,
    SampleOptions,
)
from vgg_export.planning.plan import Plan, make_plan, note_assumptions
from vgg_export.progress import OnNote, OnStep, ignore_notes, ignore_steps
from vgg_export.variants.registry import Format
from vgg_export.verification.diagnosis import diagnose
from vgg_export.verification.gate import verify_end_to_end, verify_variants
from vgg_export.verification.output_kind import detect_output_kind, output_assumptions
from vgg_export.verification.reference import Reference, run_eager, torch_threads
from vgg_export.verification.samples import Samples, pink_noise_samples, real_samples
from vgg_export.writing.atomic_directory import check_destination, staged_directory
from vgg_export.writing.ranking import time_variants
from vgg_export.writing.report import report
from vgg_export.writing.tuning import discard_tuning_state
from vgg_export.writing.variants import write_variants
from vgg_models.costs import layer_table
from vgg_models.types import CheckpointSource
from vgg_runtime._internal.cpu import available_threads
from vgg_runtime._internal.validation import as_words
from vgg_runtime.bundle.directory import MANIFEST, MEASURED, REPORT, SIGNATURE, Bundle, open_bundle
from vgg_runtime.bundle.manifest import Manifest, OutputSpec, Source
from vgg_runtime.bundle.signature import read_private_key, signature_of
from vgg_runtime.imaging.preprocessing import Preprocessing

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

__all__ = ["export", "write_bundle"]

TOOLS = ("vgg-deploy", "torch", "onnx", "onnxscript", "onnxruntime", "onnxruntime-gpu", "numpy", "pillow")


def export(
    checkpoint: CheckpointSource,
    output: str | os.PathLike[str],
    *,
    model: str | ModelOptions | None = None,
    formats: Format | Iterable[Format] = FORMATS,
    preprocess: str | os.PathLike[str] | Preprocessing | None = None,
    input_size: int | tuple[int, int] | None = None,
    labels: str | os.PathLike[str] | Sequence[str] | Mapping[Any, Any] | None = None,
    samples: str | os.PathLike[str] | SampleOptions | None = None,
    quantize: str | Iterable[str] | Quantization = (),
    calibration: str | os.PathLike[str] | CalibrationOptions | None = None,
    compress: float | Literal["auto"] | CompressionOptions | None = None,
    onnx: OnnxOptions | None = None,
    batch: int | Literal["dynamic"] = "dynamic",
    embed_preprocessing: bool = False,
    verify: bool = True,
    sign: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    seed: int = 0,
    on_step: OnStep = ignore_steps,
    on_note: OnNote = ignore_notes,
) -> Bundle:
    """Export ``checkpoint`` to a bundle at ``output``, every variant verified against eager PyTorch.

    Related options are grouped in one object; if only the first of them is needed, pass it by itself:
    ``calibration="photos/"`` is ``calibration=CalibrationOptions("photos/")``.

    A quantized variant that misses its tolerance, or the target of :class:`~vgg_export.Quantization`, does not raise:
    it is left out, the others are written, and ``bundle.manifest.left_out`` says what it misses and what to do about
    it. int8-static keeps its noisiest layers in float if it would miss otherwise.

    Args:
        checkpoint: path of the file, "torchvision:NAME" or "random:NAME"; or an ``nn.Module`` or a state dict, which
            are not changed: a copy of the module is exported, in eval mode.
        output: directory to write; it appears whole or not at all.
        model: the name of the architecture, or :class:`~vgg_export.ModelOptions`; None recognises it by the keys.
        formats: "onnx", "torchscript", or both.
        preprocess: a preset, a JSON file, a :class:`~vgg_runtime.Preprocessing`, or "find": the candidate that is
            clearly the most accurate on labelled samples. None uses what the checkpoint states, and otherwise imagenet
            for three channels, plain for one.
        input_size: pixels of a square image, or (height, width); None if the checkpoint shows it.
        labels: a file of labels, "imagenet", one name per class, or a dict as in such a file; None uses what the
            checkpoint states.
        samples: a folder of real images to measure parity on, or :class:`~vgg_export.SampleOptions`.
        quantize: a method or several, or :class:`~vgg_export.Quantization`; float32 is always exported.
        calibration: a folder of real images to calibrate on, or :class:`~vgg_export.CalibrationOptions`.
        compress: adds every variant of a low-rank network too: "auto", the divisor of its multiply-accumulates, or
            :class:`~vgg_export.CompressionOptions`.
        onnx: how the ONNX variants are written; see :class:`~vgg_export.OnnxOptions`.
        batch: "dynamic", or a fixed batch size.
        embed_preprocessing: let every variant take uint8 NHWC, and scale and normalize it itself.
        verify: compare every variant with eager PyTorch.
        sign: PEM file of a private Ed25519 key to sign the bundle with, for readers who are given its public key.
        overwrite: replace an existing bundle.
        seed: for noise, random weights and the choice of samples.
        on_step: called with a line of text when each step begins, and with the numbers of finished and of all parts.
        on_note: called with a line of text for each assumption ("assumed: ..."), each unreadable calibration image
            ("skipped: ...") and what else there is to know ("note: ..."), as soon as it is known and even if the export
            fails later.

    Returns:
        the bundle, as :func:`vgg_runtime.open_bundle` returns it.

    Raises:
        RefusedInputError: the checkpoint, the labels, the preprocessing, a sample image or the private key was refused.
        MissingCapabilityError: the place for the bundle cannot be written to, or ``sign`` needs the extra of that name.
        ParityError: a float32 variant misses its tolerance; no bundle is written.
        UsageError: an option is invalid, or ``output`` exists.

    Examples:
        >>> from vgg_export import export
        >>> bundle = export("slim_vgg.pth", "example.bundle", formats=["onnx"], preprocess="preprocess.json")
        >>> [variant.name for variant in bundle.manifest.variants]
        ['onnx-fp32']
    """
    options = Options(
        model=model if isinstance(model, ModelOptions) else ModelOptions(model),
        formats=as_words(formats),
        preprocess=os.fspath(preprocess) if isinstance(preprocess, os.PathLike) else preprocess,
        input_size=(input_size, input_size) if isinstance(input_size, int) else input_size,
        labels=os.fspath(labels) if isinstance(labels, os.PathLike) else labels,
        samples=samples if isinstance(samples, SampleOptions) else SampleOptions(samples),
        quantize=quantize if isinstance(quantize, Quantization) else Quantization(as_words(quantize)),
        calibration=calibration if isinstance(calibration, CalibrationOptions) else CalibrationOptions(calibration),
        compress=compress if isinstance(compress, CompressionOptions) else CompressionOptions(compress),
        onnx=onnx or OnnxOptions(),
        batch=batch,
        embed_preprocessing=embed_preprocessing,
        verify=verify,
        seed=seed,
    )
    check_destination(Path(output), overwrite=overwrite)
    private_key = None if sign is None else read_private_key(sign)
    on_step("reading the checkpoint")
    plan = make_plan(checkpoint, options, on_step=on_step, on_note=on_note)
    return write_bundle(
        plan, Path(output), overwrite=overwrite, private_key=private_key, on_step=on_step, on_note=on_note
    )


def write_bundle(
    plan: Plan,
    output: Path,
    *,
    overwrite: bool = False,
    private_key: Ed25519PrivateKey | None = None,
    on_step: OnStep = ignore_steps,
    on_note: OnNote = ignore_notes,
) -> Bundle:
    """Write the bundle that ``plan`` describes; arguments and errors as in :func:`export`.

    The assumptions of ``plan`` were reported when it was made, and its bundle is signed by ``private_key``.
    """
    with (
        torch_threads(available_threads()),
        staged_directory(output, overwrite=overwrite, on_note=on_note) as staging,
    ):
        on_step("running eager PyTorch")
        samples = _samples(plan)
        reference = run_eager(plan.loaded.module, samples, plan.input_spec, on_step)
        manifest = write_variants(
            plan, _first_manifest(plan, reference, on_note), reference, staging, on_step=on_step, on_note=on_note
        )
        if plan.options.verify:
            manifest = verify_variants(plan, manifest, reference, staging, on_step)
        (staging / MANIFEST).write_text(manifest.dump_with_checksum(), encoding="utf-8")
        if plan.options.verify:
            manifest = verify_end_to_end(plan, manifest, reference, staging, on_step)
            (staging / MANIFEST).write_text(manifest.dump_with_checksum(), encoding="utf-8")
        if private_key is not None:
            (staging / SIGNATURE).write_bytes(signature_of((staging / MANIFEST).read_bytes(), private_key))
        results = None
        if plan.options.quantize.methods:
            on_step("timing the variants in turns")
            results = replace(time_variants(staging, manifest, on_step), bundle=output.resolve().name)
            (staging / MEASURED).write_text(results.dump(), encoding="utf-8")
        (staging / REPORT).write_text(report(manifest, samples, results, plan.search), encoding="utf-8")
    discard_tuning_state(plan, manifest.compression)
    return open_bundle(output)


def _samples(plan: Plan) -> Samples:
    if plan.images.samples is not None:
        return real_samples(plan.images.samples, plan.preprocessing, plan.variants_input)
    return pink_noise_samples(plan.preprocessing, plan.variants_input, seed=plan.options.seed)


def _first_manifest(plan: Plan, reference: Reference, on_note: OnNote) -> Manifest:
    """The part of the manifest that is known before any file is written."""
    outputs = np.concatenate(reference.outputs)
    kind = detect_output_kind(outputs)
    assumed = output_assumptions(outputs, kind)
    note_assumptions(assumed, on_note)
    checkpoint = plan.loaded.checkpoint
    image = (plan.input_spec.channels, *plan.input_spec.size)
    costs = layer_table(plan.loaded.module, image)
    origins = {"random": "random", "torchvision": "pretrained"}
    return Manifest(
        architecture=replace(
            plan.loaded.architecture,
            assumptions=(*plan.assumptions, *assumed),
            macs=costs.macs,
            activations=prod(image) + costs.activations,
        ),
        source=Source(
            kind=checkpoint.kind,
            weights=cast("Literal['trained', 'pretrained', 'random']", origins.get(checkpoint.kind, "trained")),
            bytes=checkpoint.bytes,
            sha256=checkpoint.sha256,
            notes=plan.source_notes,
            averaged=checkpoint.averaged,
        ),
        input=plan.variants_input,
        output=OutputSpec(kind=kind, classes=outputs.shape[1]),
        preprocessing=plan.preprocessing,
        labels=plan.labels,
        variants=(),
        diagnosis=diagnose(reference.samples.names, plan.labels, reference.per_sample)
        if reference.samples.real
        else None,
        tool_versions=package_versions(TOOLS),
    )
