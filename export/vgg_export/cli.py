"""``vgg-export``."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import fields, is_dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_type_hints

import click

from vgg_calibration.targets import TARGETS
from vgg_cli.flags import with_flags
from vgg_cli.output import echo, echo_json, printable, variant_line
from vgg_cli.running import run_command
from vgg_export.planning.choices import CALIBRATION_METHODS, MODELS, QUANTIZATIONS
from vgg_runtime.errors import MissingCapabilityError, ParityError
from vgg_runtime.imaging.presets import PRESETS
from vgg_web.engine import INSTALLED_HERE

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from vgg_cli.completion import Completion
    from vgg_export.planning.options import Options
    from vgg_export.planning.plan import Plan
    from vgg_export.progress import OnStep
    from vgg_runtime.bundle.directory import Bundle
    from vgg_runtime.bundle.manifest import LeftOutVariant

# Layers named on the terminal; report.md names them all.
NAMES_SHOWN = 4

FILES = click.Path()


def _words_or_files(words: Sequence[str]) -> Completion:
    """Return a completion that offers the matching ``words``, and files."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        # Files first: bash drops what precedes them, and completes file names only if no word matches.
        return FILES.shell_complete(ctx, param, incomplete) + click.Choice(words).shell_complete(ctx, param, incomplete)

    return complete


class InputSize(click.ParamType[tuple[int, int]]):
    """``224`` or ``HEIGHTxWIDTH``."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Return (height, width) of "224" or "224x192"."""
        parts = value.lower().split("x") if isinstance(value, str) else value
        try:
            height, width = (int(parts[0]), int(parts[-1])) if len(parts) <= 2 else (0, 0)
        except ValueError:
            height = width = 0
        if min(height, width) < 1:
            self.fail(f"{value!r} is not a size. Give one number of pixels, or HEIGHTxWIDTH.", param, ctx)
        return height, width


class BatchSize(click.ParamType["int | str"]):
    """``dynamic`` or a number."""

    name = "batch"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """Return "dynamic", or a number >= 1."""
        if value == "dynamic":
            return "dynamic"
        if not str(value).isdecimal() or int(value) < 1:
            self.fail(f"must be 'dynamic' or an integer >= 1, got {value!r}.", param, ctx)
        return int(value)


class Speedup(click.ParamType["float | str"]):
    """``auto``, or a number above 1 with or without an x."""

    name = "speedup"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | str:
        """Return "auto", or a number above 1."""
        if value == "auto":
            return "auto"
        try:
            speedup = float(str(value).removesuffix("x"))
        except ValueError:
            speedup = 0.0
        if not 1 < speedup < float("inf"):
            self.fail(f"must be 'auto' or a number above 1, such as 3x, got {value!r}.", param, ctx)
        return speedup


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="vgg-deploy")
@click.argument("checkpoint", shell_complete=FILES.shell_complete)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Directory of the bundle to write.")
@click.option(
    "--model",
    shell_complete=_words_or_files(MODELS),
    help='vgg16, torchvision:NAME, MODULE:CALLABLE or "MODULE:CALLABLE(key=value)"; by default recognised by the keys.',
)
@click.option(
    "--weights",
    type=click.Choice(["raw", "ema"]),
    help="Which of raw weights and their running average to use; by default raw.",
)
@click.option("--attribute-order", is_flag=True, help="Run a whole module's children in the order of its attributes.")
@click.option("--allow-nonfinite", is_flag=True, help="Accept NaN and infinity in the weights.")
@click.option(
    "--format",
    "formats",
    multiple=True,
    type=click.Choice(["onnx", "torchscript"]),
    help="Repeatable; by default both.",
)
@click.option(
    "--preprocess",
    metavar="PRESET|FILE",
    shell_complete=_words_or_files([*PRESETS, "find"]),
    help="imagenet, half, cifar10, mnist, plain, a JSON file; or find, by labelled samples.",
)
@click.option("--input-size", type=InputSize(), metavar="N|HxW", help="Image size of the network in pixels.")
@click.option(
    "--labels",
    metavar="FILE",
    shell_complete=_words_or_files(["imagenet"]),
    help="class_indices.json, a JSON list, a text file, or 'imagenet'.",
)
@click.option("--samples", type=click.Path(path_type=Path), help="Folder of real images to measure parity on.")
@click.option(
    "--samples-size", type=click.IntRange(min=1), help="Number of images from --samples to use; by default all."
)
@click.option("--quantize", multiple=True, type=click.Choice(QUANTIZATIONS), help="Variant to add; repeatable.")
@click.option("--calibration", type=click.Path(path_type=Path), help="Folder of real images to calibrate on.")
@click.option(
    "--calibration-size", type=click.IntRange(min=1), help="Number of images to calibrate on; by default up to 100."
)
@click.option("--calibration-method", type=click.Choice(CALIBRATION_METHODS), help="How to set ranges; by default mse.")
@click.option("--target", type=click.Choice(list(TARGETS)), help="CPU or GPU to quantize for; by default any CPU.")
@click.option(
    "--min-agreement",
    type=click.FloatRange(0, 1),
    help="Share of images on which int8-static or --compress must agree.",
)
@click.option("--min-snr", type=float, metavar="DB", help="Signal-to-noise ratio that int8-static must reach.")
@click.option(
    "--all-layers", is_flag=True, help="Keep no layer of int8-static in float, even if it misses its tolerance."
)
@click.option(
    "--compress",
    type=Speedup(),
    metavar="auto|RATIO",
    help="Add variants of a low-rank network: the smallest with the same predictions, or with 3x fewer operations.",
)
@click.option(
    "--max-accuracy-drop",
    type=click.FloatRange(0, 100),
    metavar="POINTS",
    help="Accuracy that it may lose; by default 1.",
)
@click.option(
    "--samples-other", type=click.Path(path_type=Path), help="Folder of other images, to report its agreement on."
)
@click.option(
    "--tune",
    type=click.FloatRange(min=0, min_open=True),
    metavar="MINUTES",
    help="Train it on the calibration images to answer as the original does.",
)
@click.option("--opset", type=int, help="ONNX operator set version.")
@click.option("--batch", type=BatchSize(), default="dynamic", show_default=True, metavar="dynamic|N")
@click.option("--single-file", is_flag=True, help="Put the weights inside the .onnx file.")
@click.option("--embed-preprocessing", is_flag=True, help="Take uint8 NHWC; scale and normalize inside the model.")
@click.option(
    "--no-verify", "verify", default=True, flag_value=False, help="Do not compare the variants with eager PyTorch."
)
@click.option(
    "--sign",
    type=click.Path(path_type=Path),
    metavar="KEY",
    help="Sign the bundle with this private Ed25519 key (PEM).",
)
@click.option(
    "--web",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write a page too that runs the bundle in the browser.",
)
@click.option(
    "--onnxruntime-web",
    type=click.Path(path_type=Path),
    default=INSTALLED_HERE,
    show_default=True,
    metavar="DIR",
    help="Folder of the npm package, for --web.",
)
@click.option(
    "--triton",
    type=click.Path(path_type=Path),
    metavar="REPO",
    help="Write the bundle into a model repository of Triton too.",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing bundle, and an existing page.")
@click.option(
    "--dry-run", is_flag=True, help="Print what the checkpoint holds and what would be written; write nothing."
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="For noise, random weights and samples."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else on stdout.")
def command(
    output: Path | None,
    sign: Path | None,
    web: Path | None,
    onnxruntime_web: Path,
    triton: Path | None,
    overwrite: bool,
    dry_run: bool,
    as_json: bool,
    checkpoint: str,
    **parameters: Any,
) -> int:
    """Export CHECKPOINT to a verified bundle that runs without PyTorch.

    CHECKPOINT is a file (a state dict, a whole module, safetensors or a TorchScript archive),
    torchvision:NAME for pretrained weights, or random:NAME to measure size and speed.
    """
    if output is None and not dry_run:
        raise click.UsageError("give the directory to write with -o BUNDLE, or --dry-run.")
    _check_export_extra()
    # Output of the user's own modules does not belong on stdout.
    with _notes() as on_note, _steps() as on_step, redirect_stdout(sys.stderr):
        from vgg_export.pipeline import write_bundle
        from vgg_export.planning.plan import make_plan
        from vgg_export.writing.atomic_directory import check_destination
        from vgg_runtime.bundle.signature import read_private_key
        from vgg_triton.repository import check_model
        from vgg_web.writing import check_page

        if output is not None and not dry_run:
            check_destination(output, overwrite=overwrite)
            if web is not None:
                check_page(web, onnxruntime_web=onnxruntime_web, overwrite=overwrite)
            if triton is not None:
                check_model(triton, output)
        private_key = None if sign is None else read_private_key(sign)
        on_step("reading the checkpoint")
        plan = make_plan(checkpoint, export_options(parameters), on_step=on_step, on_note=on_note)
        bundle = None
        if output is not None and not dry_run:
            bundle = write_bundle(
                plan, output, overwrite=overwrite, private_key=private_key, on_step=on_step, on_note=on_note
            )
    if bundle is None:
        _print_plan(plan, as_json)
        return 0
    _print_bundle(bundle, as_json)
    if web is not None:
        from vgg_web.writing import write_page

        page = write_page(bundle.directory, web, onnxruntime_web=onnxruntime_web, overwrite=overwrite)
        echo(*page.summary(), err=as_json)
    if triton is not None:
        from vgg_triton.repository import write_model

        echo(*write_model(bundle.directory, triton).summary(), err=as_json)
    return _print_left_out(bundle.manifest.left_out)


def _check_export_extra() -> None:
    """Say what to install if only the runtime is; its wheel brings this command along."""
    if missing := [name for name in ("torch", "onnx", "onnxscript") if find_spec(name) is None]:
        raise MissingCapabilityError(
            f"exporting needs {', '.join(missing)}, which this environment lacks.",
            hint='Install the build-machine extra: pip install "vgg-deploy[export,cpu]".',
        )


def export_options(parameters: dict[str, Any]) -> Options:
    """Return the options for the command's parameters, with defaults for those that are not given."""
    from vgg_export.planning.options import Options

    options = {name: value for name, value in parameters.items() if value not in (None, ())}
    groups: dict[str, Any] = {}
    group_parameters: set[str] = set()
    for group, kind in get_type_hints(Options).items():
        if is_dataclass(kind):
            kind = cast("type", kind)
            field_names = _parameters_of_group(group, kind)
            groups[group] = kind(**{field_names[name]: value for name, value in options.items() if name in field_names})
            group_parameters |= set(field_names)
    return Options(**{name: value for name, value in options.items() if name not in group_parameters}, **groups)


def _parameters_of_group(group: str, kind: type) -> dict[str, str]:
    """Return the field that each parameter of the command sets in a group of options.

    Parameters have the names of the fields, prefixed by the group if the name alone is unclear. That of the first field
    may be the group itself: --samples DIR, --samples-size N. Groups may share a parameter.
    """
    names = [field.name for field in fields(kind)]
    return {group: names[0], **{name: name for name in names}, **{f"{group}_{name}": name for name in names}}


@contextmanager
def _notes() -> Iterator[Callable[[str], None]]:
    """Yield a function that collects lines, and print these on stderr at the end, before any error."""
    notes: list[str] = []
    try:
        yield notes.append
    finally:
        for note in notes:
            echo(with_flags(note, command), err=True)


@contextmanager
def _steps() -> Iterator[OnStep]:
    """Yield a function that shows the current step and the time left on stderr, if that is a terminal."""
    from vgg_export.progress import ignore_steps

    if not sys.stderr.isatty():
        yield ignore_steps
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(file=sys.stderr), transient=True) as progress:
        task, current = progress.add_task("starting", total=None), ""

        def show(text: str, done: int = 0, total: int = 0, /) -> None:
            nonlocal current
            if text != current:
                current = text
                progress.reset(task, description=printable(text), total=total or None)
            progress.update(task, completed=done, total=total or None)

        yield show


def _print_plan(plan: Plan, as_json: bool) -> None:
    from vgg_export.planning.dry_run import plan_as_json, plan_as_lines

    with redirect_stdout(sys.stderr):  # computing the costs of the layers runs the module, as above
        summary = plan_as_json(plan) if as_json else plan_as_lines(plan)
    if isinstance(summary, dict):
        echo_json(summary)
    else:
        echo(*(with_flags(line, command) for line in summary))


def _print_bundle(bundle: Bundle, as_json: bool) -> None:
    from vgg_export.variants.notes import variant_notes
    from vgg_export.verification.diagnosis import describe
    from vgg_export.writing.ranking import read_results, verdicts_by_variant
    from vgg_runtime._internal.json_codec import to_json

    results = read_results(bundle)
    verdicts = {} if results is None else verdicts_by_variant(results)
    if as_json:
        facts = {
            "diagnosis": to_json(bundle.manifest.diagnosis),
            "manifest": to_json(bundle.manifest),
            "measured": to_json(results),
            "verdicts": to_json(verdicts),
        }
        echo_json({"bundle": str(bundle.directory), **facts})
        return
    diagnosis = bundle.manifest.diagnosis
    for line in [] if diagnosis is None else describe(diagnosis):
        echo(with_flags(line, command))
    caution = "; mind the warning above" if diagnosis is not None and diagnosis.warnings else ""
    echo(f"{bundle.directory}: {bundle.manifest.architecture.description}")
    for variant in bundle.manifest.variants:
        echo(f"  {variant_line(variant)}")
        if variant.name in verdicts:
            verdict = verdicts[variant.name]
            echo(f"      {verdict.rank}: {verdict.why}{caution if verdict.rank == 'recommended' else ''}")
        for note in variant_notes(variant, max_names=NAMES_SHOWN):
            echo(f"      {note}")
    echo(_predict_command(bundle))


def _predict_command(bundle: Bundle) -> str:
    """The command that runs the recommended variant; if nothing was timed, the first one, as in the report."""
    from vgg_runtime.bundle.directory import read_recommendation

    recommendation = read_recommendation(bundle)
    variant = bundle.manifest.variants[0].name if recommendation is None else recommendation.variant
    return f"vgg-run predict {shlex.quote(str(bundle.directory))} IMAGE --variant {variant}"


def _print_left_out(variants: Sequence[LeftOutVariant]) -> int:
    """Print on stderr which variants were left out, why, and what to do about it; return the exit code."""
    for variant in variants:
        echo(f"error: {with_flags(variant.reason, command)} It was left out of the bundle.", err=True)
        for number, remedy in enumerate(variant.remedies, 1):
            echo(f"       {number}. {with_flags(remedy, command)}", err=True)
    return ParityError.exit_code if variants else 0


def main() -> None:
    """Entry point of ``vgg-export``."""
    run_command(command)
