"""The page in headless Chromium, driven through the pipe of its DevTools protocol."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from vgg_bench.analysis.selection import best
from vgg_bench.report.page import page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium puts one there")

OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe")
COMPLAINTS = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")

# Text whose colour stands out from its background by less than WCAG 2.1 asks for (1.4.3: 4.5 to 1).
FAINT_TEXT = """
(() => {
  const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const luminance = (colour) => {
    const linear = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    const [r, g, b] = channels(colour).map((c) => linear(c / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    const colour = getComputedStyle(element).backgroundColor;
    return channels(colour)[3] === 0 ? ground(element.parentElement) : colour;
  };
  const own = (element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  const texts = [...document.body.querySelectorAll("*:not(script):not(title)")].filter(own);
  const contrast = (element) => {
    const { fill, color } = getComputedStyle(element);
    const pair = [luminance(element.namespaceURI.endsWith("svg") ? fill : color), luminance(ground(element))];
    return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
  };
  return [texts.length, texts.filter((element) => contrast(element) < 4.5).map((element) => element.textContent)];
})()
"""


@dataclass
class Browser:
    """One tab; commands and events of the DevTools protocol are JSON texts that end with a zero byte."""

    requests: int
    answers: int
    session: dict[str, str] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    pending: bytes = b""
    count: int = 0

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        self.count += 1
        request = {"id": self.count, "method": method, "params": params, **self.session}
        os.write(self.requests, json.dumps(request).encode() + b"\0")
        while (answer := self.read()).get("id") != self.count:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def read(self) -> dict[str, Any]:
        while b"\0" not in self.pending:
            data = os.read(self.answers, 1 << 16)
            assert data, "Chromium has ended"
            self.pending += data
        text, _, self.pending = self.pending.partition(b"\0")
        return json.loads(text)

    def show(self, file: Path, *, width: int = 1280, scheme: str = "light", media: str = "screen") -> None:
        """Load a page into a window of that many CSS pixels and wait for it."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 600
        )
        preference = {"name": "prefers-color-scheme", "value": scheme}
        self.call("Emulation.setEmulatedMedia", media=media, features=[preference])
        self.events.clear()
        self.call("Page.navigate", url=file.as_uri())
        while "Page.loadEventFired" not in [event.get("method") for event in self.events]:
            self.events.append(self.read())

    def evaluate(self, script: str) -> Any:
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def seen(self, *methods: str) -> list[dict[str, Any]]:
        return [event["params"] for event in self.events if event.get("method") in methods]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    request, answer = os.pipe(), os.pipe()
    # Chromium reads its requests from descriptor 3 and answers on 4.
    wired = f'exec {{i}}<&{request[0]} {{o}}>&{answer[1]} 3<&$i 4>&$o; exec "$@"'
    profile = f"--user-data-dir={tmp_path_factory.mktemp('profile')}"
    command = ["bash", "-c", wired, "chromium", str(CHROMIUM), *OPTIONS, profile, "about:blank"]
    with subprocess.Popen(
        command, pass_fds=(request[0], answer[1]), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        os.close(request[0])
        os.close(answer[1])
        tab = Browser(request[1], answer[0])
        try:
            targets = tab.call("Target.getTargets")["targetInfos"]
            target = next(each["targetId"] for each in targets if each["type"] == "page")
            attached = tab.call("Target.attachToTarget", targetId=target, flatten=True)
            tab.session = {"sessionId": attached["sessionId"]}
            for domain in ("Page", "Runtime", "Log", "Network"):
                tab.call(f"{domain}.enable")
            yield tab
        finally:
            process.kill()
            os.close(request[1])
            os.close(answer[0])


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
def test_it_loads_itself_alone_complains_of_nothing_and_fits(
    browser: Browser, file: Path, width: int, scheme: str
) -> None:
    browser.show(file, width=width, scheme=scheme)
    assert browser.evaluate("document.title").endswith("size, latency and agreement")
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    requested = [each["request"]["url"] for each in browser.seen("Network.requestWillBeSent")]
    assert [url for url in requested if not url.startswith("data:")] == [file.as_uri()]
    assert browser.seen(*COMPLAINTS) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_its_text_stands_out(browser: Browser, file: Path, scheme: str) -> None:
    browser.show(file, scheme=scheme)
    texts, faint = browser.evaluate(FAINT_TEXT)
    assert texts > 300
    assert faint == []


@pytest.mark.parametrize("width", [390, 1280])
def test_the_command_line_is_all_in_sight(browser: Browser, file: Path, width: int) -> None:
    browser.show(file, width=width)
    assert browser.evaluate("document.querySelector('pre').textContent.length") > 100
    assert browser.evaluate("(pre => pre.scrollWidth - pre.clientWidth)(document.querySelector('pre'))") == 0


def test_dark_and_light_differ_and_paper_is_light(browser: Browser, file: Path) -> None:
    def ground() -> str:
        return browser.evaluate("getComputedStyle(document.body).backgroundColor")

    browser.show(file, scheme="light")
    light = ground()
    browser.show(file, scheme="dark")
    assert ground() != light
    browser.show(file, scheme="dark", media="print")
    assert ground() == light


def test_a_column_sorts_both_ways_and_empty_cells_stay_last(browser: Browser, file: Path) -> None:
    browser.show(file)

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


def test_a_script_that_got_in_would_not_run(browser: Browser, file: Path) -> None:
    browser.show(file)
    browser.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.ran = 1'}))"
    )
    assert browser.evaluate("window.ran") is None


def test_it_prints(browser: Browser, file: Path) -> None:
    browser.show(file)
    printed = browser.call("Page.printToPDF", paperWidth=8.27, paperHeight=11.69)
    assert len(printed["data"]) > 10_000
