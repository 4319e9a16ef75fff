"""The results on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from vgg_bench.analysis.ranking import NOISE, NOT_WORTHWHILE, Assessment, rank_results
from vgg_bench.analysis.selection import Selection
from vgg_bench.report.columns import Column, sorted_rows, visible_columns, visible_settings
from vgg_bench.results import BenchmarkCase, Results, Row
from vgg_cli.output import printable
from vgg_runtime.errors import MissingCapabilityError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["notes", "show"]

# A column: its title, then one text per row.
Cells = list[str]

GAP = 2  # characters between two columns
STYLES = {"recommended": "bold green", NOT_WORTHWHILE: "red", "dominated": "dim"}


def show(results: Results, console: Console, *, choice: Selection | None = None) -> None:
    """Print ``results`` on ``console``, split into several tables if it is too narrow for one.

    Args:
        choice: the best row, shown with the commands that use it.

    Raises:
        MissingCapabilityError: rich is not installed.
    """
    try:
        from rich.text import Text
    except ImportError as error:
        raise MissingCapabilityError(
            "the table needs rich, which is not installed.", hint='pip install "vgg-deploy[report]"'
        ) from error
    rows, verdicts = sorted_rows(results.rows), rank_results(results)
    if rows:
        names, figures = _names(results, rows), _figures(results, rows, verdicts)
        styles = [STYLES.get(verdicts[row.subject].label, "") for row in rows]
        for panel in _panels(names, figures, console.width):
            console.print(_table(names, panel, styles))
            console.print()
    # Text, so that brackets are not markup; unwrapped, so that a command can be copied as one line.
    for line in [*notes(results), *_use(choice)]:
        console.print(Text(printable(line)), soft_wrap=True)


def notes(results: Results) -> list[str]:
    """Return lines on what the figures hold for, how certain they are, and which are missing."""
    machine, method = results.machine, results.method
    lines = [f"{results.bundle} ({results.architecture}) on {machine}."]
    settings = {(row.subject.batch_size, row.subject.threads) for row in results.rows}
    if len(settings) == 1:
        lines.append("Batch {}, threads {}.".format(*settings.pop()))
    lines.append(f"In parentheses: 95% intervals. Latencies count as equal if these overlap, or within {NOISE:.0%}.")
    if any(row.latency and row.latency.p50.interval is None for row in results.rows):
        lines.append("No interval: one round says nothing about how rounds differ; such latencies count as equal.")
    if any(results.is_baseline(row) for row in results.measured):
        lines.append("Ratios are relative to {} on {} at the same batch size and threads.".format(*results.baseline))
    lines += _dominated(results)
    if machine.noise is not None:
        lines.append(f"Noise: the same thing measured again differed by {machine.noise:.1%} in this run.")
    if not method.finished:
        lines.append("The run was interrupted: these are the measurements up to then.")
    lines += [f"Failed: {row.subject.name}: {row.failure}" for row in results.rows if row.latency is None]
    return lines + [f"Absent: {backend}: {reason}" for backend, reason in results.absent.items()]


def _dominated(results: Results) -> Iterator[str]:
    """Yield what "dominated" means and which row dominates each dominated one, if there are any."""
    verdicts = rank_results(results)
    beaten: dict[BenchmarkCase, list[str]] = {}
    for subject, verdict in verdicts.items():
        if verdict.label == "dominated" and verdict.beaten_by is not None:
            beaten.setdefault(verdict.beaten_by, []).append(f"{subject.variant} on {subject.backend}")
    if beaten:
        yield (
            "Dominated: another row of the same batch size and threads is better in size, latency or agreement and "
            "worse in none of them:"
        )
    one_setting = len({subject.setting for subject in verdicts}) == 1
    for best, others in beaten.items():
        setting = "" if one_setting else " at batch {}, threads {}".format(*best.setting)
        yield f"  {', '.join(others)} by {best.variant} on {best.backend}{setting}"


def _use(choice: Selection | None) -> list[str]:
    if choice is None:
        return []
    return ["", f"Take {choice.row.subject.name}: {choice.why}.", f"  {choice.command}", f"  {choice.python}"]


def _names(results: Results, rows: Sequence[Row]) -> list[Cells]:
    """Return the columns that every table begins with: they tell its rows apart."""
    return [
        ["variant", *(printable(row.subject.variant) for row in rows)],
        ["backend", *(printable(row.subject.backend) for row in rows)],
        *(_cells(column, rows) for column in visible_settings(results)),
    ]


def _figures(results: Results, rows: Sequence[Row], verdicts: Mapping[BenchmarkCase, Assessment]) -> list[Cells]:
    columns = [column for column in visible_columns(results) if not column.detail]
    figures = [_cells(column, rows) for column in columns]
    return [*figures, ["verdict", *(verdicts[row.subject].label for row in rows)]]


def _cells(column: Column, rows: Sequence[Row]) -> Cells:
    return [column.title, *(printable(column.text(row)) for row in rows)]


def _panels(names: Sequence[Cells], figures: Sequence[Cells], width: int) -> Iterator[list[Cells]]:
    """Yield the figures of each table: as many as fit in ``width`` characters beside the names, at least one."""
    room = width + GAP - sum(map(_width, names))  # no gap follows the last one
    panel: list[Cells] = []
    for cells in figures:
        if panel and sum(map(_width, [*panel, cells])) > room:
            yield panel
            panel = []
        panel.append(cells)
    yield panel


def _width(cells: Cells) -> int:
    return max(map(len, cells)) + GAP


def _table(names: Sequence[Cells], figures: Sequence[Cells], styles: Sequence[str]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for title, *_ in names:
        table.add_column(title, justify="left" if title in {"variant", "backend"} else "right", overflow="fold")
    for title, *_ in figures:
        table.add_column(title, justify="left" if title == "verdict" else "right", no_wrap=True)
    for texts, style in zip(zip(*(cells[1:] for cells in [*names, *figures]), strict=True), styles, strict=True):
        table.add_row(*map(Text, texts), style=style)
    return table
