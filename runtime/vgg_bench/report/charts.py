"""Latencies, memory and cold starts, one strip per row under its name, on one scale.

As in the Pareto plot, positions along the scale are percentages, and colours are classes of ``page.css``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from vgg_bench.formatting import format_number, interval
from vgg_bench.report.html import Element, element
from vgg_bench.results import BenchmarkCase, Latency, Row
from vgg_bench.timing.memory import Memory

__all__ = ["Scale", "cold_start_chart", "latency_chart", "memory_chart"]


HISTOGRAM_HEIGHT, BAR_HEIGHT = 34.0, 14.0  # CSS pixels
BINS = 80

Numbers = Mapping[BenchmarkCase, int]


def latency_chart(rows: Sequence[Row], numbers: Numbers) -> Element:
    """Return the distribution of the calls of each of ``rows`` around its median, with the 99th percentile."""
    drawn = [(row, row.latency) for row in rows if row.latency is not None]
    # In units of each row's own median: on a scale of milliseconds the slowest row would hide the spread of all others.
    ends = [end.value / spread.p50.value for _, spread in drawn for end in (spread.minimum, spread.p90)]
    axis = Scale.around((100 * end for end in ends), margin=0.2)
    strips = []
    for row, latency in drawn:
        p99 = f", p99 {format_number(latency.p99.value)}" if latency.p99 else ""
        text = f"p50 {interval(latency.p50)}{p99} ms"
        strips.append(_strip(row, numbers, text, _distribution(row, latency, axis), HISTOGRAM_HEIGHT))
    return _chart(
        strips,
        axis,
        "Every timed call, in percent of the row's own median; slower calls than the scale shows are left out. The "
        "long mark is the median, the short one the 99th percentile if there were at least 100 calls.",
    )


def memory_chart(rows: Sequence[Row], numbers: Numbers) -> Element:
    """Return the memory of each row's process: peak, steady and private as bars inside one another."""
    drawn = [(row, row.memory) for row in rows if row.memory is not None]
    axis = Scale.from_zero(memory.peak for _, memory in drawn)
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
        "MB of the process. The thin bar is the peak, the middle one the resident memory after the calls, the thick "
        "one the part of that which no file backs.",
    )


def cold_start_chart(rows: Sequence[Row], numbers: Numbers) -> Element:
    """Return the time from process start to the first answer of each of ``rows``, with loading as a part of it."""
    drawn = [(row, row.cold_start_s) for row in rows if row.cold_start_s is not None]
    axis = Scale.from_zero(start.greatest for _, start in drawn)
    strips = []
    for row, start in drawn:
        text, marks = f"{interval(start)} s", [_bar(axis, start.value, 9, "middle")]
        if row.load_s is not None:
            text += f", loading {format_number(row.load_s.value)} s"
            marks.append(_bar(axis, row.load_s.value, BAR_HEIGHT, "dark"))
        if start.interval is not None:
            marks.append(_whisker(axis, *start.interval))
        strips.append(_strip(row, numbers, text, marks, BAR_HEIGHT))
    return _chart(
        strips, axis, "Seconds from process start to the first answer. The thick bar is loading, the line the interval."
    )


def _memory_text(memory: Memory) -> str:
    peak, steady, private = map(format_number, (memory.peak, memory.steady, memory.private))
    text = f"peak {peak}, steady {steady}, private {private} MB"
    return text if memory.gpu is None else f"{text}, GPU {format_number(memory.gpu)} MB"


def _distribution(row: Row, latency: Latency, axis: Scale) -> Iterator[Element]:
    median = latency.p50.value
    yield from _histogram([100 * seconds * 1e3 / median for one in row.rounds for seconds in one], axis)
    p99 = [] if latency.p99 is None else [(latency.p99.value, HISTOGRAM_HEIGHT / 2)]
    for percentile, top in [*p99, (median, 0.0)]:
        if axis.low <= 100 * percentile / median <= axis.high:
            x = _place(axis, 100 * percentile / median)
            yield element("line", x1=x, x2=x, y1=top, y2=HISTOGRAM_HEIGHT, class_="mark")


def _histogram(samples: Sequence[float], axis: Scale) -> Iterator[Element]:
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


def _bar(axis: Scale, value: float, height: float, shade: str) -> Element:
    return element("rect", x="0", width=_place(axis, value), y=(BAR_HEIGHT - height) / 2, height=height, class_=shade)


def _whisker(axis: Scale, low: float, high: float) -> Element:
    middle = BAR_HEIGHT / 2
    ends = {"x1": _place(axis, low), "x2": _place(axis, high)}
    return element("line", **ends, y1=middle, y2=middle, class_="mark")


def _place(axis: Scale, value: float) -> str:
    return f"{axis.percent(value):.2f}%"


def _strip(row: Row, numbers: Numbers, text: str, marks: Iterable[Element], height: float) -> Element:
    subject = row.subject
    name = element("span", f"{numbers[subject]} ", element("b", subject.variant), f" {subject.backend}", class_="name")
    drawing = element("svg", *marks, width="100%", height=height, role="img", aria_label=f"{subject.name}: {text}")
    return element("li", name, element("span", text, class_="figures"), drawing)


def _chart(strips: Sequence[Element], axis: Scale, caption: str) -> Element:
    ticks = []
    for place, text in axis.labelled_ticks():
        x = f"{place:.2f}%"
        ticks += [
            element("line", x1=x, x2=x, y1="0", y2="5", class_="grid"),
            element("text", text, x=x, y="18", class_="tick centred" if place > 1 else "tick"),
        ]
    scale = element("svg", *ticks, width="100%", height="22", class_="scale", aria_hidden="true")
    return element("figure", element("ul", *strips, class_="strips"), scale, element("figcaption", caption))


# With a ratio of largest to smallest value above this, a linear axis would squeeze the small ones together.
LOGARITHMIC_FROM = 5.0


@dataclass(frozen=True)
class Scale:
    """A linear or logarithmic scale from ``low`` to ``high``."""

    low: float
    high: float
    logarithmic: bool = False

    @classmethod
    def from_zero(cls, values: Iterable[float]) -> Scale:
        """Return a linear scale for lengths of bars."""
        return cls(0.0, max(values, default=0.0) * 1.02 or 1.0)

    @classmethod
    def around(cls, values: Iterable[float], *, margin: float = 0.08) -> Scale:
        """Return a scale for positions, with a ``margin`` at either end, as a share of its length."""
        positive = [value for value in values if value > 0] or [1.0]
        low, high = min(positive), max(positive)
        if high / low >= LOGARITHMIC_FROM:
            factor = (high / low) ** margin
            return cls(low / factor, high * factor, logarithmic=True)
        space = max(high - low, 0.1 * high) * margin
        return cls(low - space, high + space)

    def percent(self, value: float) -> float:
        """Return the position of ``value``: 0 at the low end, 100 at the high end, clipped to these."""
        value = min(max(value, self.low), self.high)
        if self.logarithmic:
            return 100 * math.log(value / self.low) / math.log(self.high / self.low)
        return 100 * (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Return some round values: 1, 2 or 5 times a power of ten, or multiples of one."""
        if not self.logarithmic:
            return self._multiples(next(iter(_round_steps(self.high - self.low))))
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for mantissas in ((1, 2, 5), (1, 3), (1,)):
            values = [mantissa * 10.0**decade for decade in decades for mantissa in mantissas]
            inside = [tick for tick in values if self.low <= tick <= self.high]
            if len(inside) <= 7:
                break
        return inside

    def labelled_ticks(self) -> list[tuple[float, str]]:
        """Return the percentage and the text of each tick."""
        return [(self.percent(tick), f"{tick:,.6g}") for tick in self.ticks()]

    def _multiples(self, step: float) -> list[float]:
        return [i * step for i in range(math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9) + 1)]


def _round_steps(length: float) -> Iterable[float]:
    """Yield the round steps, smallest first, that divide ``length`` into at most six parts."""
    power = math.floor(math.log10(length))
    return (m * 10.0**e for e in (power - 1, power, power + 1) for m in (1, 2, 5) if length / (m * 10.0**e) <= 6)
