from __future__ import annotations

from xml.etree.ElementTree import Element

import pytest

from vgg_bench.analysis.ranking import rank_results
from vgg_bench.engines import ENGINES
from vgg_bench.report.pareto_plot import HEIGHT, SHAPES, pareto_plot
from vgg_bench.results import Results


@pytest.fixture
def plot(make_results) -> Element:
    results = make_results()
    return pareto_plot(results.rows, rank_results(results), {row.subject: i for i, row in enumerate(results.rows, 1)})


def markers(plot: Element) -> dict[str, Element]:
    """The marker of each row, by variant and backend."""
    groups = [each for each in plot[1].iter("svg") if "marker" in each.get("class", "")]
    return {" ".join((group.findtext("title") or "").split(" / ")[:2]): group for group in groups}


def caption(results: Results) -> str:
    numbers = {row.subject: i for i, row in enumerate(results.rows, 1)}
    return pareto_plot(results.rows, rank_results(results), numbers).findtext("figcaption") or ""


def place(marker: Element) -> tuple[float, float]:
    return float(marker.get("x", "").rstrip("%")), float(marker.get("y", ""))


def test_larger_is_further_right_and_slower_is_higher_up(plot: Element) -> None:
    static, fp32 = (place(markers(plot)[f"{name} onnxruntime"]) for name in ("onnx-int8-static", "onnx-fp32"))
    assert static[0] < fp32[0]
    assert static[1] > fp32[1]
    assert all(0 < x < 100 and 0 < y < HEIGHT for x, y in map(place, markers(plot).values()))


def test_points_show_backend_agreement_and_front(plot: Element) -> None:
    marks = markers(plot)
    assert len(marks) == 11
    assert marks["onnx-int4-weights onnxruntime"].get("class") == "marker front hollow"
    assert marks["onnx-int8-static openvino"].get("class") == "marker front"
    assert marks["eager pytorch"].get("class") == "marker dominated"
    outlines = {name.split()[1]: marker.find("path").get("d") for name, marker in marks.items()}
    assert len(set(outlines.values())) == len(outlines) == 4
    ringed = [name for name, marker in marks.items() if marker.find("circle") is not None]
    assert ringed == ["onnx-int8-static onnxruntime"]


def test_the_front_is_joined_from_small_to_large(plot: Element) -> None:
    segments = [each for each in plot[1].iter("line") if each.get("class") == "front"]
    assert len(segments) == 4
    starts = [float(each.get("x1", "").rstrip("%")) for each in segments]
    assert starts == sorted(starts)


def test_a_line_is_named_only_where_one_is_drawn(make_results) -> None:
    assert "The line joins the Pareto front" in caption(make_results())
    alone = caption(make_results(subjects=(("onnx-fp32", "onnxruntime"),)))
    assert "line" not in alone
    assert "Number 1 is the Pareto front" in alone


def test_points_on_one_another_share_a_label(plot: Element) -> None:
    labels = [each.text for each in plot[1].iter("text") if "label" in each.get("class", "")]
    numbers = [number for label in labels for number in label.split(", ")]
    assert sorted(map(int, numbers)) == list(range(1, 12))
    assert "5, 6" in labels  # static int8 on two backends


def test_a_tooltip_tells_what_the_place_means(plot: Element) -> None:
    title = markers(plot)["onnx-int4-weights onnxruntime"].findtext("title")
    assert title is not None
    assert title.endswith("78.5 MB, 40.3 ms, agrees 94.0%; on the front")


def test_each_backend_that_there_is_has_a_shape_of_its_own() -> None:
    assert len(set(SHAPES)) == len(SHAPES) >= len({*ENGINES, "pytorch", "pytorch-cuda"})
