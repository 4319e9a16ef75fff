"""``vgg-run score``: the predictions for many images, in files."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from vgg_cli.output import echo, echo_json
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
from vgg_runtime._internal.validation import counted
from vgg_runtime.backends.registry import BACKENDS

if TYPE_CHECKING:
    from vgg_score import ScoringProgress, ScoringSummary

__all__ = ["score"]

# The exit code of a shell for a process that Ctrl-C ended.
_INTERRUPTED = 130


@click.command()
@bundle_argument
@click.argument("source", nargs=-1, required=True)
@click.option("-o", "--output", type=PATH, required=True, help="Directory for the shards of predictions.")
@click.option(
    "--format",
    type=click.Choice(["parquet", "jsonl", "csv"]),
    default="parquet",
    show_default=True,
    help="Format of the shards.",
)
@click.option("--top-k", type=click.IntRange(min=1), default=5, show_default=True, help="Classes of each image.")
@click.option("--batch-size", type=click.IntRange(min=1), default=8, show_default=True, help="Images to run at once.")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Processes.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads of all workers; by default all available.")
@click.option("--resume", is_flag=True, help="Go on with the run that wrote to the directory, if one did.")
@click.option(
    "--ray", metavar="ADDRESS", help="Run the workers on a Ray cluster; 'local' is one of this machine alone."
)
@variant_option
@device_option
@click.option("--backend", type=click.Choice(list(BACKENDS)), help="Engine to run it on.")
@key_option
@max_pixels_option
@any_operator_option
@click.option("--column", help="Column of Parquet files with the images; by default the only one of bytes or paths.")
@click.option("--id-column", help="Column of Parquet files with the ids; by default file and row are.")
@click.option("--shard-size", type=click.IntRange(min=1), default=500, show_default=True, help="Images of a shard.")
@json_option
def score(source: tuple[str, ...], as_json: bool, max_pixels: int | None, **options: Any) -> int:
    """Write the predictions for the images of each SOURCE to files.

    A SOURCE is a folder of images, a .parquet file with a column of bytes or paths, a .tar archive, a .txt file with a
    path on each line, an image, a quoted pattern of these such as 'shards/*.tar', or a URL of any of them.
    """
    from vgg_score import score as score_images

    if max_pixels is not None:
        options["max_pixels"] = max_pixels
    bar = _Bar()
    try:
        summary = score_images(source=source, on_progress=bar.update, **options)
    except KeyboardInterrupt:
        bar.close()
        echo(f"interrupted; the complete shards in {options['output']} stay, and --resume goes on with them.", err=True)
        return _INTERRUPTED
    finally:
        bar.close()
    if as_json:
        echo_json(_as_json(summary))
    else:
        echo(f"variant: {summary.variant} ({summary.variant_reason})", err=True)
        echo(_in_words(summary))
    return REFUSED if summary.errors else 0


def _as_json(summary: ScoringSummary) -> dict[str, Any]:
    from vgg_runtime._internal.json_codec import to_json

    return {**to_json(summary), "output": str(summary.output)}


def _in_words(summary: ScoringSummary) -> str:
    refused = f", {summary.errors:,} of them refused" if summary.errors else ""
    resumed = f"; {summary.scored:,} in this run" if summary.scored < summary.images else ""
    rate = f"; {summary.rate:,.1f} images/s" if summary.scored else ""
    shards = counted(summary.shards, "shard")
    return f"{summary.output}: {counted(summary.images, 'image')}{refused}, in {shards}{resumed}{rate}"


class _Bar:
    """A progress bar on stderr, with the rate and the time left; nothing if stderr is no terminal."""

    def __init__(self) -> None:
        self._bar: Any = None

    def update(self, progress: ScoringProgress) -> None:
        """Show ``progress``."""
        if not sys.stderr.isatty():
            return
        if self._bar is None:
            self._bar = click.progressbar(
                length=progress.total,
                label="images",
                file=sys.stderr,
                show_pos=True,
                show_eta=False,
                item_show_func=lambda progress: progress and _rate_and_time_left(progress),
            )
        self._bar.update(progress.images - self._bar.pos, progress)

    def close(self) -> None:
        """End the line of the bar."""
        if self._bar is not None:
            self._bar.render_finish()
            self._bar = None


def _rate_and_time_left(progress: ScoringProgress) -> str:
    seconds = round(progress.seconds_left or 0)
    return f"{progress.rate:,.1f}/s, {seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02} left"
