"""The page in headless Chromium."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vgg_bench.analysis.selection import best
from vgg_bench.report.page import page

COMPLAINTS = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")


@pytest.fixture
def file(make_results, tmp_path: Path) -> Path:
    """The page of a run that has all there is: two batch sizes, a GPU, a failure, and a name made to be markup."""
    results = make_results(settings=((1, 2), (8, 2)), failures={("onnx-fp16", "onnxruntime-cuda"): "<img src=x>"})
    memory = replace(results.rows[0].memory, gpu=812.0)
    results = replace(
        results,
        bundle="a_rather_long_name_of_a_bundle_that_has_no_place_to_break_</title><script>alert(1)</script>.bundle",
        rows=(replace(results.rows[0], memory=memory, energy_j=1.25), *results.rows[1:]),
    )
    path = tmp_path / "page.html"
    path.write_text(page(results, choice=best(results)), encoding="utf-8")
    return path


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 390, 1280])
def test_it_loads_itself_alone_complains_of_nothing_and_fits(browser: Any, file: Path, width: int, scheme: str) -> None:
    browser.show(file.as_uri(), width=width, scheme=scheme)
    assert browser.evaluate("document.title").endswith("size, latency and agreement")
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert [url for url in browser.requested() if not url.startswith("data:")] == [file.as_uri()]
    assert browser.seen(*COMPLAINTS) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_its_text_stands_out(browser: Any, file: Path, scheme: str) -> None:
    browser.show(file.as_uri(), scheme=scheme)
    texts, faint = browser.faint_texts()
    assert texts > 300
    assert faint == []


@pytest.mark.parametrize("width", [390, 1280])
def test_the_command_line_is_all_in_sight(browser: Any, file: Path, width: int) -> None:
    browser.show(file.as_uri(), width=width)
    assert browser.evaluate("document.querySelector('pre').textContent.length") > 100
    assert browser.evaluate("(pre => pre.scrollWidth - pre.clientWidth)(document.querySelector('pre'))") == 0


def test_dark_and_light_differ_and_paper_is_light(browser: Any, file: Path) -> None:
    def ground() -> str:
        return browser.evaluate("getComputedStyle(document.body).backgroundColor")

    browser.show(file.as_uri(), scheme="light")
    light = ground()
    browser.show(file.as_uri(), scheme="dark")
    assert ground() != light
    browser.show(file.as_uri(), scheme="dark", media="print")
    assert ground() == light


def test_a_column_sorts_both_ways_and_empty_cells_stay_last(browser: Any, file: Path) -> None:
    browser.show(file.as_uri())

    def sort(title: str) -> tuple[str, list[str]]:
        """Press the title of a column; return which way it is sorted now, and the cells."""
        browser.evaluate(
            f"var column = [...document.querySelectorAll('thead th')].findIndex(th => th.innerText == '{title}')"
        )
        browser.evaluate("document.querySelectorAll('thead button')[column].click()")
        cells = "[...document.querySelectorAll('tbody tr')].map(row => row.cells[column].firstChild?.textContent ?? '')"
        way = "document.querySelectorAll('thead th')[column].getAttribute('aria-sort')"
        return browser.evaluate(way), browser.evaluate(cells)

    ascending, medians = sort("p50 ms")
    assert ascending == "ascending"
    numbers = [float(text.replace(",", "")) for text in medians]
    assert numbers == sorted(numbers)
    descending, medians = sort("p50 ms")
    assert descending == "descending"
    assert [float(text.replace(",", "")) for text in medians] == numbers[::-1]
    for _ in range(2):
        _, energies = sort("J")
        assert [text for text in energies if text] == energies[:1] == ["1.25"]
    assert sort("verdict")[1][0] == "dominated"
    assert browser.evaluate("document.querySelectorAll('[aria-sort]').length") == 1


def test_a_script_that_got_in_would_not_run(browser: Any, file: Path) -> None:
    browser.show(file.as_uri())
    browser.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.ran = 1'}))"
    )
    assert browser.evaluate("window.ran") is None


def test_it_prints(browser: Any, file: Path) -> None:
    browser.show(file.as_uri())
    printed = browser.call("Page.printToPDF", paperWidth=8.27, paperHeight=11.69)
    assert len(printed["data"]) > 10_000
