"""``vgg-bench``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vgg_cli import completion
from vgg_cli.output import echo, echo_document, printable
from vgg_cli.running import run_command
from vgg_runtime.errors import MissingCapabilityError, UsageError, VerificationError

if TYPE_CHECKING:
    from vgg_bench.analysis.accuracy import LabelledImages
    from vgg_bench.analysis.selection import Constraints, Selection
    from vgg_bench.cases import BenchmarkRequest, CaseCommand
    from vgg_bench.results import Results
    from vgg_bench.timing.rounds import Schedule
    from vgg_runtime.bundle.directory import Bundle

INTERRUPTED = 130
STDOUT = Path("-")

_path = click.Path(path_type=Path)
_count = click.IntRange(min=1)


@dataclass(frozen=True)
class Outputs:
    """Where the results go besides the terminal.

    Attributes:
        json, html: files; ``-`` stands for stdout, which then holds nothing else.
    """

    json: Path | None
    html: Path | None

    @property
    def has_table(self) -> bool:
        """Whether the terminal shows the table."""
        return STDOUT not in (self.json, self.html)

    def check(self) -> None:
        """Refuse outputs that cannot be written before anything is measured.

        Raises:
            UsageError: a folder does not exist, or both go to stdout.
            MissingCapabilityError: only the table is wanted, and rich, which draws it, is not installed.
        """
        if self.json == self.html == STDOUT:
            raise UsageError("--json and --html cannot both go to stdout.")
        for file in (self.json, self.html):
            if file not in (None, STDOUT) and (file.is_dir() or not file.absolute().parent.is_dir()):
                raise UsageError(f"{file} cannot be written: it is a folder, or its folder does not exist.")
        if self.has_table and not find_spec("rich") and self.json is None and self.html is None:
            raise MissingCapabilityError(
                "the table needs rich, which is not installed.",
                hint='pip install "vgg-deploy[report]", or use --json FILE.',
            )


class NamedFile(click.ParamType[tuple[str, Path]]):
    """``NAME=FILE``."""

    name = "named file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Path]:
        """Return name and path of "NAME=FILE"."""
        if isinstance(value, tuple):
            return value
        name, _, file = value.partition("=")
        if not name or not Path(file).is_file():
            self.fail(f"{value!r} is not NAME=FILE with an existing file.", param, ctx)
        return name, Path(file)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="vgg-deploy")
@click.argument("bundle", required=False, type=_path)
@click.option(
    "--variant",
    "variants",
    multiple=True,
    shell_complete=completion.variants_and(),
    help="Variant to measure; by default all.",
)
@click.option("--backend", "backends", multiple=True, help="Backend to measure on; by default all that are installed.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), help="Device to measure on; by default both.")
@click.option("--batch-size", "batch_sizes", multiple=True, type=_count, help="Images per call; by default 1.")
@click.option("--threads", multiple=True, type=_count, help="CPU threads; by default all available to this process.")
@click.option(
    "--also",
    multiple=True,
    type=NamedFile(),
    metavar="NAME=FILE",
    help="An ONNX file outside the bundle to measure too.",
)
@click.option("--checkpoint", type=_path, help="The bundle's checkpoint, to measure eager and compiled PyTorch too.")
@click.option("--samples", type=_path, help="Folder with one folder of images per class, to measure accuracy on.")
@click.option("--samples-size", type=_count, help="Number of images from --samples to use; by default all.")
@click.option("--quick", is_flag=True, help="Measure less: wider intervals, one cold start each.")
@click.option("--max-latency-ms", type=float, help="Choose the best variant of at most this median latency.")
@click.option("--max-size-mb", type=float, help="Choose the best variant of at most this size.")
@click.option("--min-agreement", type=float, help="Choose the best variant that agrees with eager PyTorch this often.")
@click.option("--json", "json_file", type=_path, metavar="FILE", help="Write every sample and figure; - is stdout.")
@click.option("--html", "html_file", type=_path, metavar="FILE", help="Write a page with charts; - is stdout.")
@click.option("--compare", nargs=2, type=_path, metavar="A.json B.json", help="Compare two runs; measure nothing.")
def command(
    bundle: Path | None,
    compare: tuple[Path, Path] | None,
    json_file: Path | None,
    html_file: Path | None,
    max_latency_ms: float | None,
    max_size_mb: float | None,
    min_agreement: float | None,
    quick: bool,
    samples: Path | None,
    samples_size: int | None,
    also: Sequence[tuple[str, Path]],
    **asked: Any,
) -> int:
    """Measure size, latency, memory and accuracy of every variant of BUNDLE on this machine, side by side."""
    from vgg_bench.analysis.selection import Constraints

    if compare is not None:
        if bundle is not None:
            raise click.UsageError("--compare measures nothing: leave out BUNDLE.")
        _compare(compare, json_file)
        return 0
    if bundle is None:
        raise click.UsageError("give a BUNDLE to measure, or --compare A.json B.json.")
    from vgg_bench.analysis._scipy import import_scipy_stats
    from vgg_bench.cases import BenchmarkRequest
    from vgg_bench.runner import QUICK, SCHEDULE

    outputs = Outputs(json_file, html_file)
    outputs.check()
    constraints = Constraints(max_latency_ms, max_size_mb, min_agreement)
    import_scipy_stats()  # before anything is measured
    request = BenchmarkRequest(also=dict(also), **asked)
    if samples_size is not None and samples is None:
        raise click.UsageError("--samples-size has no effect without --samples DIR.")
    results = _measure(bundle, request, samples, samples_size, QUICK if quick else SCHEDULE)
    return _report(results, outputs, constraints, bundle)


def _measure(
    path: Path, request: BenchmarkRequest, folder: Path | None, size: int | None, schedule: Schedule
) -> Results:
    from vgg_bench.analysis.accuracy import read_labelled
    from vgg_bench.cases import choose
    from vgg_runtime.bundle.directory import open_bundle

    bundle = open_bundle(path)
    candidates, absent = choose(bundle, request)
    samples = None if folder is None else read_labelled(folder, bundle.manifest, size=size)
    return _run(bundle, candidates, schedule, samples, absent)


def _run(
    bundle: Bundle,
    candidates: Sequence[CaseCommand],
    schedule: Schedule,
    samples: LabelledImages | None,
    absent: dict[str, str],
) -> Results:
    """Measure, with a progress bar on stderr if that is a terminal."""
    from vgg_bench.runner import run, steps

    with click.progressbar(
        length=steps(candidates, schedule, samples),
        file=sys.stderr,
        hidden=not sys.stderr.isatty(),
        item_show_func=lambda name: name and printable(name),
    ) as bar:
        return run(
            bundle,
            candidates,
            schedule=schedule,
            samples=samples,
            absent=absent,
            on_step=lambda name, count: bar.update(count, name),
        )


def _report(results: Results, outputs: Outputs, constraints: Constraints, bundle: Path) -> int:
    """Write and show the results; return the exit code.

    Raises:
        VerificationError: nothing satisfies the constraints; the results are written all the same.
    """
    from vgg_bench.analysis.selection import Constraints

    choice, miss = _choose(results, constraints, bundle)
    _write(outputs.json, results.dump)
    _write(outputs.html, lambda: _page(results, choice))
    if outputs.has_table and find_spec("rich"):
        from rich.console import Console

        from vgg_bench.report.table import show

        show(results, Console(), choice=choice)
    if not results.method.finished:
        echo("interrupted; the measurements so far are kept.", err=True)
        return INTERRUPTED
    if miss is not None and constraints != Constraints():
        raise miss
    return next((row.exit_code for row in results.rows if row.exit_code), 0)


def _choose(
    results: Results, constraints: Constraints, bundle: Path
) -> tuple[Selection | None, VerificationError | None]:
    from vgg_bench.analysis.selection import best

    try:
        return best(results, constraints, bundle=bundle), None
    except VerificationError as miss:
        return None, miss


def _page(results: Results, choice: Selection | None) -> str:
    from vgg_bench.report.page import page

    return page(results, choice=choice)


def _write(file: Path | None, text: Callable[[], str]) -> None:
    if file == STDOUT:
        echo_document(text())
    elif file is not None:
        file.write_text(text(), encoding="utf-8")


def _compare(files: tuple[Path, Path], json_file: Path | None) -> None:
    from vgg_bench.analysis.comparison import as_text, compare
    from vgg_bench.results import Results

    before, after = (Results.parse(_read(file), source=str(file)) for file in files)
    comparison = compare(before, after, names=(str(files[0]), str(files[1])))
    _write(json_file, comparison.dump)
    if json_file != STDOUT:
        echo(*as_text(comparison).split("\n"))


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}.") from error


def main() -> None:
    """Entry point of ``vgg-bench``."""
    run_command(command)
