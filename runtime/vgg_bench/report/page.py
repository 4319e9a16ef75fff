"""``--html FILE``: the results as one self-contained page that loads nothing and runs no script but its own."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files

from vgg_bench.analysis.ranking import Assessment, rank_results
from vgg_bench.analysis.selection import Selection
from vgg_bench.report.charts import cold_start_chart, latency_chart, memory_chart
from vgg_bench.report.columns import Column, sorted_rows, visible_columns, visible_settings
from vgg_bench.report.html import Element, as_html, element
from vgg_bench.report.pareto_plot import pareto_plot
from vgg_bench.report.table import notes
from vgg_bench.results import BenchmarkCase, Results, Row
from vgg_runtime.bundle.manifest import CompressionPoint

__all__ = ["page"]


def page(results: Results, *, choice: Selection | None = None) -> str:
    """Return the page as HTML text.

    It adapts to the width (from 360 px), to light and dark, and to paper.

    Args:
        choice: the best row, shown first, with the commands that use it.
    """
    style, script = (files(__package__).joinpath(name).read_text("utf-8") for name in ("page.css", "page.js"))
    rows, verdicts = sorted_rows(results.rows), rank_results(results)
    numbers = {row.subject: number for number, row in enumerate(rows, 1)}
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        _policy(style, script),
        element("title", f"{results.bundle}: size, latency and agreement"),
        element("link", rel="icon", href="data:,"),
        element("style", style),
    )
    body = element(
        "body",
        element("main", *_sections(results, rows, verdicts, numbers, choice)),
        element("script", script),
    )
    return as_html(element("html", head, body, lang="en"))


def _policy(style: str, script: str) -> Element:
    """Forbid the browser every source but the page's own style and script, whatever a label contains."""
    allowed = f"default-src 'none'; img-src data:; style-src {_digest(style)}; script-src {_digest(script)}"
    return element("meta", http_equiv="Content-Security-Policy", content=allowed)


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _sections(
    results: Results,
    rows: Sequence[Row],
    verdicts: Mapping[BenchmarkCase, Assessment],
    numbers: Mapping[BenchmarkCase, int],
    choice: Selection | None,
) -> Iterator[Element]:
    yield element(
        "header",
        element("h1", results.bundle),
        element("p", f"{results.architecture} on {results.machine}", class_="where"),
    )
    if choice is not None:
        yield _recommendation(choice, verdicts)
    if rows:
        yield from _charts(rows, verdicts, numbers)
        table = _table((*visible_settings(results), *visible_columns(results)), rows, verdicts, numbers)
        yield element("section", element("h2", "All figures"), table, class_="wide")
    if results.compression:
        yield element("section", element("h2", "Low-rank networks that were tried"), _compression(results.compression))
    yield element("section", element("h2", "Notes"), _list(notes(results)[1:]), class_="wide")
    yield element("section", element("h2", "Method"), element("p", results.method.description))
    yield element("section", element("h2", "Machine and versions"), _facts(results))


def _recommendation(choice: Selection, verdicts: Mapping[BenchmarkCase, Assessment]) -> Element:
    subject = choice.row.subject
    return element(
        "section",
        element("h2", "Take ", element("b", subject.variant), f" on {subject.backend}"),
        element("p", f"{verdicts[subject].why[0].upper()}{verdicts[subject].why[1:]}. It is {choice.why}."),
        element("pre", element("code", f"{choice.command}\n{choice.python}"), tabindex="0", aria_label="How to use it"),
        class_="wide choice",
    )


def _charts(
    rows: Sequence[Row], verdicts: Mapping[BenchmarkCase, Assessment], numbers: Mapping[BenchmarkCase, int]
) -> Iterator[Element]:
    """Yield the plots for each batch size and number of threads; rows are comparable within one."""
    settings = list(dict.fromkeys((row.subject.batch_size, row.subject.threads) for row in rows))
    for batch_size, threads in settings:
        same = [row for row in rows if (row.subject.batch_size, row.subject.threads) == (batch_size, threads)]
        suffix = f", batch {batch_size}, threads {threads}" if len(settings) > 1 else ""
        yield element("section", element("h2", f"Size and latency{suffix}"), pareto_plot(same, verdicts, numbers))
        yield element("section", element("h2", f"Spread of latency{suffix}"), latency_chart(same, numbers))
        if any(row.memory is not None for row in same):
            yield element("section", element("h2", f"Memory{suffix}"), memory_chart(same, numbers))
        if any(row.cold_start_s is not None for row in same):
            yield element("section", element("h2", f"Cold start{suffix}"), cold_start_chart(same, numbers))


def _table(
    columns: Sequence[Column],
    rows: Sequence[Row],
    verdicts: Mapping[BenchmarkCase, Assessment],
    numbers: Mapping[BenchmarkCase, int],
) -> Element:
    titles = [("variant", "By its number in the plots."), ("verdict", "What it is worth on this machine.")]
    titles += [(column.title, column.about) for column in columns]
    buttons = [(element("button", title, type="button"), about) for title, about in titles]
    heads = [element("th", button, scope="col", title=about) for button, about in buttons]
    body = [_table_row(columns, row, verdicts[row.subject], numbers) for row in rows]
    table = element("table", element("thead", element("tr", *heads)), element("tbody", *body))
    return element("div", table, class_="scroll", tabindex="0", role="region", aria_label="All figures")


def _table_row(
    columns: Sequence[Column], row: Row, verdict: Assessment, numbers: Mapping[BenchmarkCase, int]
) -> Element:
    subject, number = row.subject, numbers[row.subject]
    name = element("b", f"{number} {subject.variant}")
    cells = [
        element("th", name, f" {subject.backend}", scope="row", data_value=number),
        element("td", verdict.label, *_by(verdict, numbers), title=verdict.why, class_="verdict"),
    ]
    for column in columns:
        value = column.value(row)
        cells.append(element("td") if value is None else _figure(column.text(row), value))
    return element("tr", *cells, class_=verdict.label.replace(" ", "-"))


def _by(verdict: Assessment, numbers: Mapping[BenchmarkCase, int]) -> Iterator[Element]:
    """Yield a note with the number of the row that dominates this one, if any."""
    if verdict.label == "dominated" and verdict.beaten_by is not None:
        yield element("small", f"by {numbers[verdict.beaten_by]} {verdict.beaten_by.variant}")


def _compression(curve: Sequence[CompressionPoint]) -> Element:
    """Return the table of the networks."""
    titles = ("multiply-accumulates", "parameters", "agreement", "")
    head = element("tr", *(element("th", title, scope="col") for title in titles))
    rows = [
        element(
            "tr",
            element("td", f"{point.macs / 1e6:,.0f} M"),
            element("td", f"{point.parameters / 1e6:.2f} M"),
            element("td", f"{point.agreement:.1%}"),
            element("td", point.verdict),
        )
        for point in curve
    ]
    table = element("table", element("thead", head), element("tbody", *rows))
    return element("div", table, class_="scroll", tabindex="0", role="region", aria_label="Low-rank networks")


def _figure(text: str, value: float) -> Element:
    """Return a cell with the interval, if any, below the value."""
    main, _, interval = text.partition(" (")
    below = [element("small", interval.rstrip(")"))] if interval else []
    return element("td", main, *below, data_value=repr(value))


def _facts(results: Results) -> Element:
    machine, method = results.machine, results.method
    facts = {
        "Processor": f"{machine.processor}, {machine.cpus} CPUs",
        "Memory": f"{machine.memory_gb:.1f} GB",
        "GPU": machine.gpu or "none",
        "System": machine.system,
        "Measured": f"{method.rounds} rounds of {method.seconds_per_turn:g} s, {method.starts} cold starts",
        **{f"Peak, {count} threads": f"{rate:,.0f} GMAC/s" for count, rate in machine.gmac_per_s.items()},
        **{f"Memory rate, {count} threads": f"{rate:,.1f} GB/s" for count, rate in machine.gigabytes_per_s.items()},
        **results.versions,
        "Checkpoint": results.source,
    }
    entries = [entry for name, text in facts.items() for entry in (element("dt", name), element("dd", text))]
    return element("dl", *entries)


def _list(lines: Sequence[str]) -> Element:
    return element("ul", *(element("li", line) for line in lines))
