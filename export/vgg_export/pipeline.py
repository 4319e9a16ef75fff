"""The way from a checkpoint to a bundle: plan, reference, files, parity, bundle."""

from __future__ import annotations

import importlib.metadata
import math
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, cast

import numpy as np

from vgg_calibration.mixed_precision import Budget
from vgg_calibration.quantizers import Context
from vgg_calibration.ranges import DEFAULT_METHOD
from vgg_calibration.targets import ANY_CPU, TARGETS
from vgg_export.accuracy import compare_accuracy, true_classes
from vgg_export.bundle_writer import check_destination, staged_directory
from vgg_export.calibration_run import calibrate
from vgg_export.end_to_end import EndToEnd
from vgg_export.exporters.torch2onnx import DEFAULT_OPSET
from vgg_export.output_kind import detect_output_kind
from vgg_export.plan import FORMATS, Options, Plan, make_plan
from vgg_export.reference import Reference, run_eager
from vgg_export.report import report
from vgg_export.samples import Samples, pink_noise_samples, real_samples
from vgg_export.variants import ONNX_FP32, Format, Job, Recipe, open_variant
from vgg_export.verdict import judge, measured, time_variants
from vgg_runtime.bundle import GOLDEN, MANIFEST, MEASURED, REPORT, Bundle, open_bundle
from vgg_runtime.checksum import sha256_of
from vgg_runtime.classifier import METADATA_KEY
from vgg_runtime.errors import ParityError
from vgg_runtime.manifest import Manifest, Output, Source, Variant

__all__ = ["export", "write_bundle"]

TOOLS = ("vgg-deploy", "torch", "onnx", "onnxscript", "onnxruntime", "onnxruntime-gpu", "numpy", "pillow")

OnStep = Callable[[str], None]


def export(
    checkpoint: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    model: str | None = None,
    attribute_order: bool = False,
    allow_nonfinite: bool = False,
    formats: Iterable[Format] = FORMATS,
    preprocess: str | os.PathLike[str] | None = None,
    input_size: int | tuple[int, int] | None = None,
    labels: str | os.PathLike[str] | None = None,
    samples: str | os.PathLike[str] | None = None,
    quantize: Iterable[str] = (),
    calibration: str | os.PathLike[str] | None = None,
    calibration_size: int | None = None,
    calibration_method: str = DEFAULT_METHOD,
    target: str = ANY_CPU,
    min_agreement: float | None = None,
    min_snr: float | None = None,
    opset: int = DEFAULT_OPSET,
    batch: int | Literal["dynamic"] = "dynamic",
    single_file: bool = False,
    verify: bool = True,
    overwrite: bool = False,
    seed: int = 0,
    on_step: OnStep = lambda _: None,
) -> Bundle:
    """Export ``checkpoint`` to a bundle at ``output``, every variant verified against eager PyTorch.

    Args:
        checkpoint: path of the file, "torchvision:NAME" or "random:NAME".
        output: directory to write; it appears whole or not at all.
        model: "vgg16", "torchvision:NAME" or "module:callable"; None recognises the architecture by the keys.
        attribute_order: run a whole module's children in the order of its attributes, where its class is not at hand.
        allow_nonfinite: accept NaN and infinity in the weights.
        formats: "onnx", "torchscript", or both.
        preprocess: a preset or a JSON file; None takes imagenet for three channels, plain for one.
        input_size: pixels of a square image, or (height, width); None where the checkpoint tells.
        labels: a file of labels, or "imagenet".
        samples: folder of real images that parity is measured on; None takes image-like noise.
        quantize: "dynamic", "static", "int8-weights", "int4-weights", "fp16"; float32 is always exported.
        calibration: folder of real images that the ranges of 8-bit activations are taken from.
        calibration_size: how many of them; None takes as many as there are, up to 100.
        calibration_method: "minmax", "percentile", "entropy" or "mse".
        target: "vnni", "avx2", "arm64", "cuda", or "any" for any CPU.
        min_agreement: share of images, 0 to 1, on which int8-static must give eager PyTorch's best class; as few bytes
            as possible stay in float to reach it.
        min_snr: the same as a signal-to-noise ratio in dB.
        opset: version of the ONNX operator set.
        batch: "dynamic", or a fixed batch size.
        single_file: put the weights inside the ``.onnx`` file.
        verify: hold every variant against eager PyTorch.
        overwrite: replace a bundle that is there.
        seed: for noise, random weights and the choice of samples.
        on_step: called with a line of text when each step begins.

    Raises:
        RefusedInputError: the checkpoint, the labels, the preprocessing or a sample image was refused.
        ParityError: a variant misses its tolerance; no bundle is written.
        UsageError: an option is wrong, or ``output`` exists.
    """
    options = Options(
        model=model,
        attribute_order=attribute_order,
        allow_nonfinite=allow_nonfinite,
        formats=tuple(formats),
        preprocess=None if preprocess is None else os.fspath(preprocess),
        input_size=(input_size, input_size) if isinstance(input_size, int) else input_size,
        labels=None if labels is None else os.fspath(labels),
        samples=None if samples is None else Path(samples),
        quantize=tuple(quantize),
        calibration=None if calibration is None else Path(calibration),
        calibration_size=calibration_size,
        calibration_method=calibration_method,
        target=target,
        budget=Budget(min_agreement, min_snr),
        opset=opset,
        batch=batch,
        single_file=single_file,
        verify=verify,
        seed=seed,
    )
    check_destination(Path(output), overwrite=overwrite)
    on_step("reading the checkpoint")
    return write_bundle(make_plan(checkpoint, options), Path(output), overwrite=overwrite, on_step=on_step)


def write_bundle(plan: Plan, output: Path, *, overwrite: bool = False, on_step: OnStep = lambda _: None) -> Bundle:
    """Write the bundle that ``plan`` describes; arguments and errors as in :func:`export`."""
    with staged_directory(output, overwrite=overwrite) as staging:
        on_step("running eager PyTorch")
        samples = _samples(plan)
        reference = run_eager(plan.loaded.module, samples, plan.takes)
        manifest = _manifest(plan, reference)
        job = Job(
            module=plan.loaded.module,
            takes=manifest.input,
            gives=manifest.output,
            opset=plan.options.opset,
            single_file=plan.options.single_file,
            metadata={METADATA_KEY: manifest.dump()},
            staging=staging,
            quantization=Context(TARGETS[plan.options.target]),
        )
        variants: list[Variant] = []
        for recipe in plan.recipes:
            if recipe.quantize and manifest.calibration is None and plan.images.calibration is not None:
                job, manifest = _calibrate(plan, job, manifest, variants, on_step)
            on_step(f"writing {recipe.name}")
            variants.append(_write(recipe, job))
        if plan.options.verify:
            end_to_end = EndToEnd.of(plan, samples)
            truth = true_classes(samples.names, plan.labels)
            for i, recipe in enumerate(plan.recipes):
                on_step(f"verifying {recipe.name}")
                variants[i] = _verify(recipe, variants[i], reference, truth, plan.options.budget, staging)
            manifest = replace(manifest, golden=_write_golden(reference, staging))
        manifest = replace(manifest, variants=tuple(variants))
        (staging / MANIFEST).write_text(manifest.dump(), encoding="utf-8")
        if plan.options.verify:
            on_step("verifying image bytes to labels")
            end_to_end.check(staging, manifest)
        verdicts = {}
        if plan.options.quantize:
            on_step("timing the variants in turns")
            verdicts = judge(manifest, time_variants(staging, manifest))
            (staging / MEASURED).write_text(measured(verdicts), encoding="utf-8")
        (staging / REPORT).write_text(report(manifest, samples, verdicts), encoding="utf-8")
    return open_bundle(output)


def _samples(plan: Plan) -> Samples:
    if plan.images.samples is not None:
        return real_samples(plan.images.samples, plan.preprocessing, plan.takes.size)
    return pink_noise_samples(plan.preprocessing, plan.takes.size, seed=plan.options.seed)


def _manifest(plan: Plan, reference: Reference) -> Manifest:
    """The manifest as far as it is known before any file is written; this much travels inside the files too."""
    outputs = np.concatenate(reference.outputs)
    checkpoint = plan.loaded.checkpoint
    origins = {"random": "random", "torchvision": "pretrained"}
    return Manifest(
        architecture=replace(plan.loaded.architecture, assumptions=plan.assumptions),
        source=Source(
            kind=checkpoint.kind,
            weights=cast("Literal['trained', 'pretrained', 'random']", origins.get(checkpoint.kind, "trained")),
            bytes=checkpoint.bytes,
            sha256=checkpoint.sha256,
            notes=checkpoint.notes,
        ),
        input=plan.takes,
        output=Output(kind=detect_output_kind(outputs), classes=outputs.shape[1]),
        preprocessing=plan.preprocessing,
        labels=plan.labels,
        variants=(),
        tool_versions=_tool_versions(),
    )


def _tool_versions() -> dict[str, str]:
    versions = {}
    for tool in TOOLS:
        try:
            versions[tool] = importlib.metadata.version(tool)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _calibrate(
    plan: Plan, job: Job, manifest: Manifest, written: Sequence[Variant], on_step: OnStep
) -> tuple[Job, Manifest]:
    """Take the ranges of activations from the calibration images, for the variants that are written from now on."""
    assert plan.images.calibration is not None
    float_onnx = next((variant for variant in written if variant.name == ONNX_FP32.name), None)
    if float_onnx is None:
        return job, manifest  # TorchScript's dynamic quantization takes no ranges
    found = calibrate(
        job.staging / float_onnx.file,
        float_onnx.sha256,
        plan.images.calibration,
        plan.preprocessing,
        plan.options,
        takes=plan.takes,
        on_step=on_step,
    )
    context = replace(job.quantization, ranges=found.ranges)
    job = replace(job, quantization=context, int8_static_in_float=found.in_float)
    return job, replace(manifest, calibration=found.record)


def _write(recipe: Recipe, job: Job) -> Variant:
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
    )


def _verify(
    recipe: Recipe, variant: Variant, reference: Reference, truth: Sequence[int] | None, budget: Budget, staging: Path
) -> Variant:
    outputs = reference.run(recipe.name, open_variant(recipe, staging))
    figures = reference.compare(outputs, tie=recipe.tolerance.tie)
    if recipe.budgeted and not budget.is_met(figures):
        snr_db = math.inf if figures.snr_db is None else figures.snr_db
        raise ParityError(
            f"{recipe.name} reaches {budget} on the calibration images, but on the images held out "
            f"{figures.top1_agreement:g} and {snr_db:.1f} dB. No bundle was written.",
            hint="Calibrate on more images, or ask for a margin: a higher --min-agreement or --min-snr.",
        )
    if misses := figures.misses(recipe.tolerance):
        raise ParityError(
            f"{recipe.name} differs from eager PyTorch by more than {recipe.tolerance.name}: {'; '.join(misses)} "
            f"(worst on {figures.worst_sample}). No bundle was written.",
            hint=_hint(recipe),
        )
    accuracy = None
    if truth is not None and len(truth) == len(reference.per_sample):
        accuracy = compare_accuracy(truth, reference.per_sample, reference.rows_per_sample(outputs))
    return replace(variant, parity=figures, tolerance=recipe.tolerance, accuracy=accuracy)


def _hint(recipe: Recipe) -> str:
    if recipe.quantize is None:
        return "Report it with the checkpoint's architecture, or export the other format with --format."
    return (
        f"Leave out --quantize {recipe.quantize}, or calibrate on more images, or images more like those of the "
        "training, or by another --calibration-method."
    )


def _write_golden(reference: Reference, staging: Path) -> str:
    inputs, outputs = reference.golden
    np.savez_compressed(staging / GOLDEN, input=inputs, output=outputs)
    return sha256_of(staging / GOLDEN)
