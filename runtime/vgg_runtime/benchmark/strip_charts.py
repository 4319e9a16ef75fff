"""Latencies, memory and cold starts, one strip per row under its name, on one scale.

As in the Pareto plot, places along the scale are percentages, and colours are classes of ``page.css``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from vgg_runtime.benchmark.axis import Axis
from vgg_runtime.benchmark.columns import figure, interval
from vgg_runtime.benchmark.markup import Element, element
from vgg_runtime.benchmark.results import Latency, Memory, Row, Subject

__all__ = ["cold_start_chart", "latency_chart", "memory_chart"]

HISTOGRAM_HEIGHT, BAR_HEIGHT = 34.0, 14.0  # CSS pixels
BINS = 80

Numbers = Mapping[Subject, int]


def latency_chart(rows: Sequence[Row], numbers: Numbers) -> Element:
    """Return the distribution of the calls of each of ``rows`` around its median, with the 99th percentile."""
    drawn = [(row, row.latency) for row in rows if row.latency is not None]
    # In units of each row's own median: on a scale of milliseconds the slowest row would hide the spread of all others.
    ends = [end.value / found.p50.value for _, found in drawn for end in (found.minimum, found.p90)]
    axis = Axis.around((100 * end for end in ends), margin=0.2)
    strips = []
    for row, latency in drawn:
        p99 = f", p99 {figure(latency.p99.value)}" if latency.p99 else ""
        text = f"p50 {interval(latency.p50)}{p99} ms"
        strips.append(_strip(row, numbers, text, _distribution(row, latency, axis), HISTOGRAM_HEIGHT))
    return _chart(
        strips,
        axis,
        "Every timed call, in percent of the row's own median; what is slower than the scale is left out. The long "
        "mark is the median, the short one the 99th percentile where there were 100 calls or more.",
    )


def memory_chart(rows: Sequence[Row], numbers: Numbers) -> Element:
    """Return the memory of each row's process: peak, steady and private as bars inside one another."""
    drawn = [(row, row.memory) for row in rows if row.memory is not None]
    axis = Axis.from_zero(memory.peak for _, memory in drawn)
    strips = []
    for row, memory in drawn:
        bars = [
            _bar(axis, memory.peak, 4, "light"),
            _bar(axis, memory.steady, 9, "middle"),
            _bar(axis, memory.private, BAR_HEIGHT, "dark"),
        ]
        strips.append(_strip(row, numbers, _memory_text(memory), bars, BAR_HEIGHT))
    return _chart(
        strips,
        axis,
        "MB of the process. The thin bar is the peak, the middle one what stays resident, the thick one the part of "
        "that which no file backs.",
    )


def cold_start_chart(rows: Sequence[Row], numbers: Numbers) -> Element:
    """Return the time from process start to the first answer of each of ``rows``, and the loading in it."""
    drawn = [(row, row.cold_start_s) for row in rows if row.cold_start_s is not None]
    axis = Axis.from_zero(start.greatest for _, start in drawn)
    strips = []
    for row, start in drawn:
        text, marks = f"{interval(start)} s", [_bar(axis, start.value, 9, "middle")]
        if row.load_s is not None:
            text += f", loading {figure(row.load_s.value)} s"
            marks.append(_bar(axis, row.load_s.value, BAR_HEIGHT, "dark"))
        if start.interval is not None:
            marks.append(_whisker(axis, *start.interval))
        strips.append(_strip(row, numbers, text, marks, BAR_HEIGHT))
    return _chart(
        strips, axis, "Seconds from process start to the first answer. The thick bar is loading, the line the interval."
    )


def _memory_text(memory: Memory) -> str:
    text = f"peak {figure(memory.peak)}, steady {figure(memory.steady)}, private {figure(memory.private)} MB"
    return text if memory.gpu is None else f"{text}, GPU {figure(memory.gpu)} MB"


def _distribution(row: Row, latency: Latency, axis: Axis) -> Iterator[Element]:
    median = latency.p50.value
    yield from _histogram([100 * seconds * 1e3 / median for one in row.rounds for seconds in one], axis)
    p99 = [] if latency.p99 is None else [(latency.p99.value, HISTOGRAM_HEIGHT / 2)]
    for percentile, top in [*p99, (median, 0.0)]:
        if axis.low <= 100 * percentile / median <= axis.high:
            x = _place(axis, 100 * percentile / median)
            yield element("line", x1=x, x2=x, y1=top, y2=HISTOGRAM_HEIGHT, class_="mark")


def _histogram(samples: Sequence[float], axis: Axis) -> Iterator[Element]:
    """Yield one bar per bin that holds a sample; the fullest is as high as the strip."""
    counts = [0] * BINS
    for sample in samples:
        if axis.low <= sample < axis.high:
            counts[int(axis.percent(sample) * BINS / 100)] += 1
    for i, count in enumerate(counts):
        if count:
            height = HISTOGRAM_HEIGHT * count / max(counts)
            yield element(
                "rect",
                x=f"{100 * i / BINS:.2f}%",
                width=f"{100 / BINS:.2f}%",
                y=HISTOGRAM_HEIGHT - height,
                height=height,
                class_="middle",
            )


def _bar(axis: Axis, value: float, height: float, shade: str) -> Element:
    return element("rect", x="0", width=_place(axis, value), y=(BAR_HEIGHT - height) / 2, height=height, class_=shade)


def _whisker(axis: Axis, low: float, high: float) -> Element:
    middle = BAR_HEIGHT / 2
    ends = {"x1": _place(axis, low), "x2": _place(axis, high)}
    return element("line", **ends, y1=middle, y2=middle, class_="mark")


def _place(axis: Axis, value: float) -> str:
    return f"{axis.percent(value):.2f}%"


def _strip(row: Row, numbers: Numbers, text: str, marks: Iterable[Element], height: float) -> Element:
    subject = row.subject
    name = element("span", f"{numbers[subject]} ", element("b", subject.variant), f" {subject.backend}", class_="name")
    drawing = element("svg", *marks, width="100%", height=height, role="img", aria_label=f"{subject.name}: {text}")
    return element("li", name, element("span", text, class_="figures"), drawing)


def _chart(strips: Sequence[Element], axis: Axis, caption: str) -> Element:
    ticks = []
    for place, text in axis.labelled_ticks():
        x = f"{place:.2f}%"
        ticks += [
            element("line", x1=x, x2=x, y1="0", y2="5", class_="grid"),
            element("text", text, x=x, y="18", class_="tick centred" if place > 1 else "tick"),
        ]
    scale = element("svg", *ticks, width="100%", height="22", class_="scale", aria_hidden="true")
    return element("figure", element("ul", *strips, class_="strips"), scale, element("figcaption", caption))
