"""``vgg-run``: predict, score, info, verify, web and triton."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vgg_cli import completion
from vgg_cli.output import EchoHandler, echo, echo_json, variant_line
from vgg_cli.running import run_command
from vgg_run.options import (
    PATH,
    REFUSED,
    any_operator_option,
    bundle_argument,
    device_option,
    json_option,
    key_option,
    max_pixels_option,
    variant_option,
)
from vgg_run.score import score
from vgg_runtime._internal.validation import counted
from vgg_runtime.backends.base import PROFILES
from vgg_runtime.backends.registry import BACKENDS
from vgg_web.engine import INSTALLED_HERE

if TYPE_CHECKING:
    from vgg_runtime.bundle.directory import Bundle
    from vgg_runtime.bundle.manifest import Manifest, ParityFigures
    from vgg_runtime.classifier import Classifier, Prediction
    from vgg_runtime.errors import ImageError

# An image file, and its classes or the reason why it was refused.
Result = tuple[Path, "list[Prediction] | str"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="vgg-deploy")
def group() -> None:
    """Run a bundle that vgg-export wrote, without PyTorch."""


@group.command()
@bundle_argument
@click.argument("images", nargs=-1, required=True, type=PATH)
@variant_option
@device_option
@click.option("--top-k", type=click.IntRange(min=1), default=5, show_default=True, help="Classes to print.")
@click.option("--batch-size", type=click.IntRange(min=1), default=1, show_default=True, help="Images to run at once.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads; by default all available to this process.")
@click.option(
    "--backend",
    type=click.Choice(["auto", *BACKENDS]),
    help="Engine to run it on; auto takes the fastest in a short trial, which is remembered.",
)
@click.option(
    "--profile",
    type=click.Choice(list(PROFILES)),
    default="latency",
    show_default=True,
    help="What to tune the CPU for; throughput is for batches.",
)
@click.option(
    "--verify-always",
    is_flag=True,
    help="Hash the files even if this machine has verified them and nothing has touched them since.",
)
@key_option
@max_pixels_option
@any_operator_option
@click.option("-v", "--verbose", is_flag=True, help="Print the variant, device and backend, and why, on stderr.")
@json_option
def predict(
    bundle: Path,
    images: tuple[Path, ...],
    variant: str | None,
    device: str,
    top_k: int,
    batch_size: int,
    threads: int | None,
    backend: str | None,
    profile: Any,
    verify_always: bool,
    key: Path | None,
    max_pixels: int | None,
    allow_any_operator: bool,
    verbose: bool,
    as_json: bool,
) -> int:
    """Classify each IMAGE, and the images in each folder."""
    from vgg_runtime.classifier import Classifier
    from vgg_runtime.imaging.folders import find_images
    from vgg_runtime.loading import RECOMMENDED

    files = find_images(images)
    limits: dict[str, Any] = {} if max_pixels is None else {"max_pixels": max_pixels}
    with Classifier.open(
        bundle,
        variant=variant,
        device=device,
        threads=threads,
        backend=backend,
        verify="always" if verify_always else True,
        key=key,
        profile=profile,
        allow_any_operator=allow_any_operator,
        **limits,
    ) as classifier:
        if verbose or (variant in (None, RECOMMENDED) and os.path.isdir(bundle)):
            echo(f"variant: {classifier.variant} ({classifier.variant_reason})", err=True)
        if verbose or device.startswith("cuda"):
            echo(f"device: {classifier.device} ({classifier.device_reason})", err=True)
        if verbose or backend == "auto":
            echo(f"backend: {classifier.backend} ({classifier.backend_reason})", err=True)
        results: list[Result] = []
        with _progress(files, as_json=as_json) as bar:
            for file, outcome in classifier.predict_files(files, top_k=top_k, batch_size=batch_size):
                results.append((file, _in_one_line(outcome)))
                bar.update(1)
                if not as_json:
                    _print_result(*results[-1])
        if as_json:
            echo_json([_as_json(classifier, *result) for result in results])
    return REFUSED if any(isinstance(outcome, str) for _, outcome in results) else 0


group.add_command(score)


@group.command()
@bundle_argument
@json_option
def info(bundle: Path, as_json: bool) -> None:
    """Print what a bundle, or a single model file, contains."""
    from vgg_runtime._internal.json_codec import to_json

    manifest = _manifest(bundle)
    if as_json:
        echo_json(to_json(manifest))
    else:
        echo(*_description(manifest))


def _manifest(bundle: Path) -> Manifest:
    if os.path.isfile(bundle):
        from vgg_runtime.loading import read_lone_manifest

        return read_lone_manifest(bundle)
    from vgg_runtime.bundle.directory import open_bundle

    return open_bundle(bundle).manifest


@group.command()
@bundle_argument
@device_option
@click.option("--backend", type=click.Choice(list(BACKENDS)), help="Engine that runs the self-test.")
@key_option
@any_operator_option
def verify(bundle: Path, device: str, backend: str | None, key: Path | None, allow_any_operator: bool) -> None:
    """Check the files against their checksums, then the outputs on this machine against the golden outputs."""
    from vgg_runtime.bundle.directory import open_bundle
    from vgg_runtime.verification import verify_bundle

    figures = verify_bundle(bundle, device=device, backend=backend, key=key, allow_any_operator=allow_any_operator)
    verified = open_bundle(bundle, key=key)
    manifest = verified.manifest
    variants = [variant.name for variant in manifest.variants]
    golden = ["golden outputs"] if manifest.golden else []
    echo(*_signature(verified))
    echo(f"unchanged since the export: {', '.join([*variants, *golden])}")
    echo(f"bundle.json: equal to its copy in {', '.join(variants)}")
    for name in variants:
        echo(f"{name}: {_self_test(figures.get(name), has_golden=manifest.golden is not None)}")


def _signature(bundle: Bundle) -> list[str]:
    from vgg_runtime.bundle.directory import SIGNATURE

    if bundle.key is not None:
        return [f"bundle.json: signed by the key {bundle.key}"]
    return [f"{SIGNATURE}: not verified; give --key PUB"] if bundle.path(SIGNATURE).exists() else []


def _self_test(figures: ParityFigures | None, *, has_golden: bool) -> str:
    if figures is None:
        reason = "that needs PyTorch" if has_golden else "the bundle was exported without verification"
        return f"not run, because {reason}"
    agreement = "equal to the bit" if figures.snr_db is None else f"{figures.snr_db:.1f} dB signal-to-noise"
    return f"{agreement}, top-1 agreement {figures.top1_agreement:.1%} on {figures.samples} golden samples"


@group.command()
@bundle_argument
@click.option("-o", "--output", type=PATH, required=True, metavar="DIR", help="Directory of the page to write.")
@click.option(
    "--variant",
    shell_complete=completion.variants_and(),
    help="ONNX variant to run; by default onnx-int8-static, or the smallest one.",
)
@click.option(
    "--onnxruntime-web",
    type=PATH,
    default=INSTALLED_HERE,
    show_default=True,
    metavar="DIR",
    help="Folder of the npm package.",
)
@key_option
@click.option("--overwrite", is_flag=True, help="Replace an existing page.")
def web(
    bundle: Path, output: Path, variant: str | None, onnxruntime_web: Path, key: Path | None, overwrite: bool
) -> None:
    """Write a static page that runs the bundle in the browser."""
    from vgg_web.writing import write_page

    page = write_page(bundle, output, variant=variant, onnxruntime_web=onnxruntime_web, key=key, overwrite=overwrite)
    echo(*page.summary())


@group.command()
@bundle_argument
@click.option("-o", "--output", type=PATH, required=True, metavar="REPO", help="Model repository to write into.")
@click.option("--name", help="Name of the model; by default that of the bundle without .bundle.")
@variant_option
@click.option("--max-batch", type=click.IntRange(min=1), help="Images that may be gathered into a batch; by default 8.")
@click.option("--instances", type=click.IntRange(min=1), help="Sessions side by side on each device; by default 1.")
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    help="Where they run; by default the GPUs if there are some.",
)
@key_option
def triton(bundle: Path, output: Path, **options: Any) -> None:
    """Write a model, or its next version, for NVIDIA Triton Inference Server."""
    from vgg_triton.repository import write_model

    echo(*write_model(bundle, output, **options).summary())


def _in_one_line(outcome: list[Prediction] | ImageError) -> list[Prediction] | str:
    return str(outcome).replace("\n", " ") if isinstance(outcome, Exception) else outcome


def _as_json(classifier: Classifier, file: Path, outcome: list[Prediction] | str) -> dict[str, Any]:
    if isinstance(outcome, str):
        return {"image": str(file), "error": outcome}
    from vgg_runtime._internal.json_codec import to_json

    return {
        "image": str(file),
        "variant": classifier.variant,
        "device": classifier.device,
        "predictions": to_json(outcome),
    }


def _print_result(file: Path, outcome: list[Prediction] | str) -> None:
    if isinstance(outcome, str):
        echo(f"{file}: error: {outcome}", err=True)
        return
    lines = [f"  {prediction.probability:7.2%}  {prediction.label}" for prediction in outcome]
    # A single prediction goes on the line of its image, so that a folder reads as a list.
    echo(*([f"{file}{lines[0]}"] if len(lines) == 1 else [str(file), *lines]))


def _progress(files: list[Path], *, as_json: bool) -> Any:
    # Without --json the results, printed one by one, show the progress by themselves.
    hidden = not (as_json and sys.stderr.isatty())
    return click.progressbar(length=len(files), label="images", file=sys.stderr, hidden=hidden)


def _description(manifest: Manifest) -> list[str]:
    height, width = manifest.input.size
    kind = manifest.output.kind.replace("_", " ")
    batch = manifest.input.batch_size or "dynamic"
    lines = [
        f"architecture   {manifest.architecture.name}: {manifest.architecture.description}",
        f"weights        {manifest.source.weights}, from a {manifest.source.kind}",
        f"input          {manifest.input.channels} x {height} x {width}, batch {batch}{_embedded(manifest)}",
        f"output         {counted(manifest.output.classes, 'class')} as {kind}",
        f"labels         {_first_labels(manifest)}",
        f"preprocessing  {_preprocessing(manifest)}",
        *(["variants"] if manifest.variants else []),
    ]
    return lines + [f"  {variant_line(variant)}" for variant in manifest.variants]


def _embedded(manifest: Manifest) -> str:
    return ", as uint8 pixels in NHWC order: the model scales and normalizes" if manifest.input.takes_pixels else ""


def _first_labels(manifest: Manifest) -> str:
    if not manifest.labels:
        return "none"
    more = " ..." if len(manifest.labels) > 5 else ""
    return ", ".join(manifest.labels[:5]) + more


def _preprocessing(manifest: Manifest) -> str:
    steps = manifest.preprocessing
    texts = {
        f"resize {steps.resize} ({steps.interpolation})": steps.resize,
        f"centre crop {steps.crop}": steps.crop,
        f"permute {len(steps.permutation or ())} pixels": steps.permutation,
        f"divide by {steps.divide_by:g}": steps.divide_by,
        f"subtract {steps.mean}": steps.mean,
        f"divide by {steps.std}": steps.std,
    }
    return ", ".join([steps.channels, *(text for text, value in texts.items() if value is not None)])


def main() -> None:
    """Entry point of ``vgg-run``."""
    # Pillow's own warning would come below this project's limit, which is documented and adjustable.
    warnings.filterwarnings("ignore", message=".*decompression bomb")
    logging.getLogger("vgg_runtime").addHandler(EchoHandler())  # its warnings
    run_command(group)
