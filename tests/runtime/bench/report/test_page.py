from __future__ import annotations

import re
import sys
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from vgg_bench.analysis.selection import best
from vgg_bench.report.page import page
from vgg_bench.results import Results
from vgg_runtime.bundle.manifest import CompressionPoint

HOSTILE = '</script></title><img src=x onerror="alert(1)">&amp;'
LOADS = {"script", "img", "iframe", "object", "embed", "video", "audio", "source", "image", "use", "base", "form"}


class Document(HTMLParser):
    """What a parser of HTML sees: every element with its attributes, and the text outside of style and script."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.raw = False
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        self.raw = tag in ("style", "script")

    def handle_endtag(self, tag: str) -> None:
        self.raw = False

    def handle_data(self, data: str) -> None:
        if not self.raw:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for each, attributes in self.elements if each == tag]


@pytest.fixture
def document(make_results) -> Document:
    results = make_results(failures={("onnx-fp16", "onnxruntime-cuda"): "no device"})
    return Document(page(results, choice=best(results)))


def test_it_tells_the_choice_every_row_and_what_there_is_not(make_results, document: Document) -> None:
    assert "Take onnx-int8-static on onnxruntime" in document.text
    assert 'Classifier.open("vgg16.bundle", variant="onnx-int8-static", device="cpu", threads=2)' in document.text
    for row in make_results().rows:
        assert document.text.count(row.subject.variant) >= 4  # three strips and the table
    assert "Failed: onnx-fp16 / onnxruntime-cuda / batch 1 / 2 threads: no device" in document.text
    assert "Absent: onnxruntime-cuda: no NVIDIA GPU was found" in document.text
    assert "One process per row, in interleaved rounds." in document.text
    assert "vgg16 on AMD EPYC 9B14, 2 CPUs" in document.text
    assert "onnxruntime1.31.1" in document.text


def test_a_gpu_is_named_at_the_top(make_results) -> None:
    results = make_results()
    with_gpu = replace(results, machine=replace(results.machine, gpu="NVIDIA H200"))
    assert "vgg16 on AMD EPYC 9B14, 2 CPUs, NVIDIA H200" in Document(page(with_gpu)).text


def test_what_dominates_a_row_is_named_beside_it(document: Document) -> None:
    assert re.search(r"dominatedby \d+ onnx-int8-weights", document.text)


def test_it_names_nothing_to_load_and_allows_nothing(document: Document) -> None:
    assert [tag for tag, _ in document.elements if tag in LOADS] == ["script"]
    addresses = [
        v for _, attributes in document.elements for k, v in attributes.items() if k in ("src", "href", "action")
    ]
    assert addresses == ["data:,"]
    (policy,) = (
        each["content"] for each in document.all("meta") if each.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None
    assert re.fullmatch(
        r"default-src 'none'; img-src data:; style-src 'sha256-\S{44}'; script-src 'sha256-\S{44}'", policy
    )


def test_hostile_names_are_text(make_results) -> None:
    results: Results = make_results(failures={(HOSTILE, "onnxruntime"): HOSTILE})
    (first, *rest) = results.rows
    hostile = replace(first, subject=replace(first.subject, variant=f"onnx-{HOSTILE}", backend=HOSTILE))
    results = replace(
        results,
        rows=(hostile, *rest),
        bundle=HOSTILE,
        architecture=HOSTILE,
        machine=replace(results.machine, processor=HOSTILE, gpu=HOSTILE, system=HOSTILE),
        absent={HOSTILE: HOSTILE},
        versions={HOSTILE: HOSTILE},
        method=replace(results.method, description=HOSTILE),
    )
    document = Document(page(results, choice=best(results, bundle=HOSTILE)))
    assert [tag for tag, _ in document.elements if tag in LOADS] == ["script"]
    assert not [name for _, attributes in document.elements for name in attributes if name.startswith("on")]
    assert document.text.count(HOSTILE) > 10


def test_a_name_that_is_no_text_can_be_written(make_results) -> None:
    assert "\\udcff.bundle" in page(replace(make_results(), bundle="\udcff.bundle")).encode().decode()


def test_drawings_have_names_and_the_front_is_told_in_text(document: Document) -> None:
    drawings = [each for each in document.all("svg") if each.get("width") == "100%"]
    assert len(drawings) == 1 + 3 * 11 + 3
    assert all(each.get("aria-label") or each.get("aria-hidden") for each in drawings)
    assert "onnx-fp16 onnxruntime277 MB, 153 ms, agrees 100.0%" in document.text


def test_places_are_percentages_within_the_drawing(document: Document) -> None:
    values = [
        each[name]
        for tag in ("svg", "rect", "line")
        for each in document.all(tag)
        for name in ("x", "x1", "x2", "width")
        if name in each
    ]
    shares = [float(value.rstrip("%")) for value in values if value is not None and value.endswith("%")]
    assert len(shares) > 500
    assert min(shares) >= 0
    assert max(shares) <= 100


def test_each_setting_has_its_plots(make_results) -> None:
    text = Document(page(make_results(settings=((1, 2), (8, 2))))).text
    assert text.count("Size and latency, batch 1, threads 2") == text.count("Memory, batch 8, threads 2") == 1


def test_what_was_not_measured_is_left_out(make_results) -> None:
    results = make_results()
    bare = [replace(row, memory=None, cold_start_s=None, load_s=None, roofline=None, rounds=()) for row in results.rows]
    text = Document(page(replace(results, rows=tuple(bare)))).text
    assert "Memory" not in text.replace("Memory8.3 GB", "").replace("Memory rate", "")
    assert "Cold start" not in text
    assert "Take" not in text


def test_a_run_in_which_all_failed(make_results) -> None:
    text = Document(page(make_results(subjects=(), failures={("onnx-fp32", "onnxruntime"): "no memory"}))).text
    assert "no memory" in text
    assert "All figures" not in text


def test_one_row_is_enough(make_results) -> None:
    results = make_results(subjects=(("onnx-fp32", "onnxruntime"),))
    assert "Take onnx-fp32 on onnxruntime" in Document(page(results, choice=best(results))).text


def test_it_needs_no_package_beyond_the_runtimes_own(make_results, monkeypatch: pytest.MonkeyPatch) -> None:
    results = make_results()
    for name in ("rich", "rich.text", "rich.table", "matplotlib", "scipy", "psutil"):
        monkeypatch.setitem(sys.modules, name, None)
    assert page(results).startswith("<!doctype html>")


def test_low_rank_networks_are_listed_with_the_chosen_one(make_results, document: Document) -> None:
    curve = (
        CompressionPoint({"conv": 8}, 1_500_000, 9_000, 0.9, "keeps too little"),
        CompressionPoint({"conv": 16}, 3_000_000, 20_000, 0.98, "chosen"),
    )
    text = Document(page(replace(make_results(), compression=curve))).text
    assert "2 M0.01 M90.0%keeps too little3 M0.02 M98.0%chosen" in text
    assert "Low-rank networks" not in document.text
