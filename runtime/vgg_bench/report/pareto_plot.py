"""Size against latency, as SVG with positions in percent: it fits a phone and a desktop without scaling its text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, pairwise

from vgg_bench.analysis.ranking import MIN_AGREEMENT, Assessment
from vgg_bench.formatting import format_number
from vgg_bench.report.charts import Scale
from vgg_bench.report.html import Element, element
from vgg_bench.results import BenchmarkCase, Row

__all__ = ["pareto_plot"]

HEIGHT = 320  # CSS pixels

# Points closer than this (percent of the width, pixels of the height) share one label.
NEAR = 7.0, 26.0

# Outlines around the origin, some 7 pixels in radius; one for each backend.
SHAPES = (
    "M-6,0a6,6 0 1,0 12,0a6,6 0 1,0 -12,0z",
    "M-5.5,-5.5h11v11h-11z",
    "M0,-7.5l7.5,7.5l-7.5,7.5l-7.5,-7.5z",
    "M0,-7l7,12.5h-14z",
    "M0,7l7,-12.5h-14z",
    "M-2.5,-7h5v4.5h4.5v5h-4.5v4.5h-5v-4.5h-4.5v-5h4.5z",
    "M-7,-4l3,-3l4,4l4,-4l3,3l-4,4l4,4l-3,3l-4,-4l-4,4l-3,-3l4,-4z",
    "M-6.5,-6.5h13l-13,13h13z",
    "M-7.5,-3.5h15v7h-15z",
)


@dataclass(frozen=True)
class _Point:
    """A row on the plot: ``x`` in percent of the width, ``y`` in pixels from the top."""

    row: Row
    number: int
    x: float
    y: float
    verdict: Assessment
    outline: str


def pareto_plot(
    rows: Sequence[Row], verdicts: Mapping[BenchmarkCase, Assessment], numbers: Mapping[BenchmarkCase, int]
) -> Element:
    """Return the plot of ``rows``: shape by backend, hollow if agreement is low, with the Pareto front joined."""
    sizes = Scale.around(_size(row) for row in rows)
    latencies = Scale.around(_latency(row) for row in rows)
    outlines = dict(zip(dict.fromkeys(row.subject.backend for row in rows), cycle(SHAPES), strict=False))
    points = [
        _Point(
            row,
            numbers[row.subject],
            sizes.percent(_size(row)),
            HEIGHT * (1 - latencies.percent(_latency(row)) / 100),
            verdicts[row.subject],
            outlines[row.subject.backend],
        )
        for row in rows
    ]
    return element(
        "figure",
        element("div", "Median latency in ms", class_="axis"),
        _plot(points, sizes, latencies),
        element("div", "Size in MB", class_="axis end"),
        _key(outlines),
        _front_list(points),
        element(
            "figcaption",
            "Lower left is better; both scales fit the points and do not start at zero. The numbers are those of the "
            f"table. {_front_note(points)}",
        ),
    )


def _size(row: Row) -> float:
    return row.bytes / 1e6


def _latency(row: Row) -> float:
    assert row.latency is not None  # failed rows are not drawn
    return row.latency.p50.value


def _plot(points: Sequence[_Point], sizes: Scale, latencies: Scale) -> Element:
    return element(
        "svg",
        *_grid(sizes, latencies),
        *(_segment(a, b) for a, b in pairwise(_front(points))),
        *map(_marker, points),
        *_labels(points),
        width="100%",
        height=HEIGHT + 20,
        role="img",
        aria_label=f"Size against latency of {len(points)} rows; the Pareto front is listed below.",
    )


def _front(points: Iterable[_Point]) -> list[_Point]:
    """Return the points of the Pareto front, smallest first."""
    return sorted((point for point in points if point.verdict.on_front), key=lambda point: (point.x, -point.y))


def _front_note(points: Iterable[_Point]) -> str:
    front = _front(points)
    if not front:
        return "No point is on the Pareto front."
    beginning = "The line joins the Pareto front" if len(front) > 1 else f"Number {front[0].number} is the Pareto front"
    return f"{beginning}: nothing is better there in one of size, latency and agreement without being worse in another."


def _front_list(points: Iterable[_Point]) -> Element:
    entries = []
    for point in _front(points):
        subject = point.row.subject
        name = element("span", f"{point.number} ", element("b", subject.variant), f" {subject.backend}", class_="name")
        entries.append(element("li", name, element("span", _figures(point.row), class_="figures")))
    return element("ul", *entries, class_="strips", aria_label="The Pareto front")


def _figures(row: Row) -> str:
    agreement = row.quality.top1_agreement
    agrees = "" if agreement is None else f", agrees {agreement:.1%}"
    return f"{format_number(_size(row))} MB, {format_number(_latency(row))} ms{agrees}"


def _grid(sizes: Scale, latencies: Scale) -> Iterator[Element]:
    for place, text in latencies.labelled_ticks():
        y = HEIGHT * (1 - place / 100)
        yield element("line", x1="0", x2="100%", y1=y, y2=y, class_="grid")
        yield element("text", text, x="0", y=y - 3, class_="tick")
    for place, text in sizes.labelled_ticks():
        x = f"{place:.2f}%"
        yield element("line", x1=x, x2=x, y1="0", y2=HEIGHT, class_="grid")
        yield element("text", text, x=x, y=HEIGHT + 15, class_="tick centred")


def _segment(a: _Point, b: _Point) -> Element:
    return element("line", x1=f"{a.x:.2f}%", y1=a.y, x2=f"{b.x:.2f}%", y2=b.y, class_="front")


def _marker(point: _Point) -> Element:
    subject, agreement = point.row.subject, point.row.quality.top1_agreement
    classes = ["marker", "front" if point.verdict.on_front else "dominated"]
    if agreement is not None and agreement < MIN_AGREEMENT:
        classes.append("hollow")
    title = f"{subject.name}: {_figures(point.row)}; {point.verdict.label}"
    parts = [element("title", title), element("path", d=point.outline)]
    if point.verdict.rank == "recommended":
        parts.append(element("circle", r="11", class_="ring"))
    # A <g> cannot be positioned in percent; a nested <svg> can.
    return element("svg", *parts, x=f"{point.x:.2f}%", y=point.y, overflow="visible", class_=" ".join(classes))


def _labels(points: Iterable[_Point]) -> Iterator[Element]:
    """Yield the number of each point, below the front and above the rest; points close together share one label."""
    groups: list[list[_Point]] = []
    for point in points:
        group = next((group for group in groups if _near(point, group[0])), None)
        if group is None:
            groups.append([point])
        else:
            group.append(point)
    for group in groups:
        on_front = any(point.verdict.on_front for point in group)
        at = (max if on_front else min)(group, key=lambda point: point.y)
        text = ", ".join(str(number) for number in sorted(point.number for point in group))
        if at.x > 80:  # centred text would leave the drawing
            label = element("text", text, x="-14", y="4", class_="label end")
        else:
            label = element("text", text, y="25" if on_front else "-12", class_="label centred")
        yield element("svg", label, x=f"{at.x:.2f}%", y=at.y, overflow="visible")


def _near(a: _Point, b: _Point) -> bool:
    return abs(a.x - b.x) < NEAR[0] and abs(a.y - b.y) < NEAR[1]


def _key(outlines: Mapping[str, str]) -> Element:
    entries = [(backend, outline, "marker dominated") for backend, outline in outlines.items()]
    first = next(iter(outlines.values()))
    entries += [
        ("on the front", first, "marker front"),
        (f"agrees less than {MIN_AGREEMENT:.0%}", first, "marker dominated hollow"),
    ]
    items = [element("li", _symbol(element("path", d=outline), how), text) for text, outline, how in entries]
    ring = element("li", _symbol(element("circle", r="7", class_="ring"), "marker"), "recommended")
    return element("ul", *items, ring, class_="key")


def _symbol(shape: Element, classes: str) -> Element:
    marker = element("svg", shape, x="8", y="8", overflow="visible", class_=classes)
    return element("svg", marker, width="16", height="16", aria_hidden="true")
