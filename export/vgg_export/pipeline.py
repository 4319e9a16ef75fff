"""The way from a checkpoint to a bundle: plan, reference, files, parity, bundle."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Literal, cast

import numpy as np

from vgg_export.bundle_writer import check_destination, staged_directory
from vgg_export.end_to_end import EndToEnd
from vgg_export.exporters.torch2onnx import DEFAULT_OPSET
from vgg_export.output_kind import detect_output_kind
from vgg_export.plan import FORMATS, Options, Plan, make_plan
from vgg_export.reference import Reference, run_eager
from vgg_export.report import report
from vgg_export.samples import Samples, pink_noise_samples, real_samples
from vgg_export.variants import Format, Job, Recipe, open_variant
from vgg_runtime.bundle import GOLDEN, MANIFEST, REPORT, Bundle, open_bundle
from vgg_runtime.checksum import sha256_of
from vgg_runtime.classifier import METADATA_KEY
from vgg_runtime.errors import ParityError
from vgg_runtime.manifest import Architecture, Manifest, Output, Source, Variant

__all__ = ["export", "write_bundle"]

TOOLS = ("vgg-deploy", "torch", "onnx", "onnxscript", "onnxruntime", "onnxruntime-gpu", "numpy", "pillow")

OnStep = Callable[[str], None]


def export(
    checkpoint: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    model: str | None = None,
    formats: Iterable[Format] = FORMATS,
    preprocess: str | os.PathLike[str] | None = None,
    input_size: int | tuple[int, int] | None = None,
    labels: str | os.PathLike[str] | None = None,
    samples: str | os.PathLike[str] | None = None,
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
        formats: "onnx", "torchscript", or both.
        preprocess: a preset or a JSON file; None takes imagenet for three channels, plain for one.
        input_size: pixels of a square image, or (height, width); None where the checkpoint tells.
        labels: a file of labels, or "imagenet".
        samples: folder of real images that parity is measured on; None takes image-like noise.
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
        formats=tuple(formats),
        preprocess=None if preprocess is None else os.fspath(preprocess),
        input_size=(input_size, input_size) if isinstance(input_size, int) else input_size,
        labels=None if labels is None else os.fspath(labels),
        samples=None if samples is None else Path(samples),
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
        )
        variants = []
        for recipe in plan.recipes:
            on_step(f"writing {recipe.name}")
            variants.append(_write(recipe, job))
        if plan.options.verify:
            end_to_end = EndToEnd.of(plan, samples)
            for i, recipe in enumerate(plan.recipes):
                on_step(f"verifying {recipe.name}")
                variants[i] = _verify(recipe, variants[i], reference, staging)
            manifest = replace(manifest, golden=_write_golden(reference, staging))
        manifest = replace(manifest, variants=tuple(variants))
        (staging / MANIFEST).write_text(manifest.dump(), encoding="utf-8")
        if plan.options.verify:
            on_step("verifying image bytes to labels")
            end_to_end.check(staging, manifest)
        (staging / REPORT).write_text(report(manifest, samples), encoding="utf-8")
    return open_bundle(output)


def _samples(plan: Plan) -> Samples:
    if plan.options.samples is not None:
        return real_samples(plan.options.samples, plan.preprocessing, seed=plan.options.seed)
    return pink_noise_samples(plan.preprocessing, plan.takes.size, seed=plan.options.seed)


def _manifest(plan: Plan, reference: Reference) -> Manifest:
    """The manifest as far as it is known before any file is written; this much travels inside the files too."""
    outputs = np.concatenate(reference.outputs)
    checkpoint = plan.loaded.checkpoint
    origins = {"random": "random", "torchvision": "pretrained"}
    return Manifest(
        architecture=Architecture(**vars(plan.loaded.architecture) | {"assumptions": plan.assumptions}),
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


def _write(recipe: Recipe, job: Job) -> Variant:
    file = job.staging / recipe.file
    file.parent.mkdir()
    data = recipe.write(job, file)
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
    )


def _verify(recipe: Recipe, variant: Variant, reference: Reference, staging: Path) -> Variant:
    figures = reference.compare(open_variant(recipe, staging))
    if misses := figures.misses(recipe.tolerance):
        raise ParityError(
            f"{recipe.name} differs from eager PyTorch by more than {recipe.tolerance.name}: {'; '.join(misses)} "
            f"(worst on {figures.worst_sample}). No bundle was written.",
            hint="Report it with the checkpoint's architecture, or export the other format with --format.",
        )
    return replace(variant, parity=figures, tolerance=recipe.tolerance)


def _write_golden(reference: Reference, staging: Path) -> str:
    inputs, outputs = reference.golden
    np.savez_compressed(staging / GOLDEN, input=inputs, output=outputs)
    return sha256_of(staging / GOLDEN)
