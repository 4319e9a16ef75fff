from __future__ import annotations

from dataclasses import replace
from xml.etree.ElementTree import Element

import pytest

from vgg_bench.report.charts import HISTOGRAM_HEIGHT, cold_start_chart, latency_chart, memory_chart
from vgg_bench.results import Row


@pytest.fixture
def rows(make_results) -> list[Row]:
    return list(make_results(subjects=(("onnx-fp32", "onnxruntime"), ("onnx-int8-static", "onnxruntime"))).rows)


def numbers(rows: list[Row]) -> dict:
    return {row.subject: i for i, row in enumerate(rows, 1)}


def strips(chart: Element) -> list[Element]:
    return [item.find("svg") for item in chart.iter("li")]


def widths(strip: Element) -> list[float]:
    return [float(bar.get("width", "").rstrip("%")) for bar in strip.iter("rect")]


def test_strip_centres_on_median_and_fills_its_height(rows: list[Row]) -> None:
    first, second = strips(latency_chart(rows, numbers(rows)))
    for strip in (first, second):
        assert max(float(bar.get("height", "")) for bar in strip.iter("rect")) == pytest.approx(HISTOGRAM_HEIGHT)
    # Both medians are at 100 %, although one row takes four times as long.
    assert first.findall("line")[-1].get("x1") == second.findall("line")[-1].get("x1")


def test_what_is_slower_than_the_scale_is_left_out(rows: list[Row]) -> None:
    one = rows[0]
    late = replace(one, rounds=(*one.rounds, (1000.0,) * 500))
    heights = [[bar.get("height") for bar in strips(latency_chart([row], numbers([row])))[0]] for row in (one, late)]
    assert heights[0] == heights[1]


def test_memory_is_told_by_bars_inside_one_another(rows: list[Row]) -> None:
    chart = memory_chart(rows, numbers(rows))
    peak, steady, private = widths(strips(chart)[0])
    assert peak > steady > private
    assert steady / peak == pytest.approx(0.9, rel=0.01)
    assert "peak 954, steady 859, private 398 MB" in "".join(chart.itertext())
    gpu = replace(rows[0], memory=replace(rows[0].memory, gpu=812.0))
    assert "GPU 812 MB" in "".join(memory_chart([gpu], numbers([gpu])).itertext())


def test_a_cold_start_has_its_loading_and_its_interval(rows: list[Row]) -> None:
    start, load = widths(strips(cold_start_chart(rows, numbers(rows)))[0])
    assert start > load
    (whisker,) = strips(cold_start_chart(rows, numbers(rows)))[0].findall("line")
    low, high = (float(whisker.get(end, "").rstrip("%")) for end in ("x1", "x2"))
    assert low < start < high


def test_rows_without_figures_have_no_strip(rows: list[Row]) -> None:
    bare = [replace(rows[0], memory=None, cold_start_s=None), rows[1]]
    assert len(strips(memory_chart(bare, numbers(bare)))) == len(strips(cold_start_chart(bare, numbers(bare)))) == 1
