"""A tiny real bundle, whose answer can be told by looking: which of red, green and blue an image has most of.

And headless Chromium, for the pages.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from vgg_runtime.bundle.directory import MANIFEST, SIGNATURE, open_bundle
from vgg_runtime.bundle.manifest import Architecture, InputSpec, Manifest, OutputSpec, Source, Tolerance, Variant
from vgg_runtime.bundle.signature import read_private_key, signature_of
from vgg_runtime.bundle.verified_files import file_states, remember_verified
from vgg_runtime.imaging.preprocessing import Preprocessing

COLOURS = ("red", "lime", "blue")  # the names that Pillow knows (255, 0, 0), (0, 255, 0) and (0, 0, 255) by
HEIGHT, WIDTH = 6, 8

MakeBundle = Callable[..., Path]
EditManifest = Callable[[Path, Callable[[dict[str, Any]], None]], None]


def write_colour_model(
    path: Path,
    *,
    batch: str | int = "batch",
    weight: float = 10.0,
    metadata: dict[str, str] | None = None,
    external_data: str | None = None,
) -> None:
    """An ONNX file whose three logits are ``weight`` times the means of the three planes."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["input"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["means"]),
        helper.make_node("MatMul", ["means", "weight"], ["output"]),
    ]
    weights = numpy_helper.from_array(np.diag(np.full(3, weight, np.float32)), "weight")
    inputs = [helper.make_tensor_value_info("input", TensorProto.FLOAT, [batch, 3, HEIGHT, WIDTH])]
    outputs = [helper.make_tensor_value_info("output", TensorProto.FLOAT, [batch, 3])]
    graph = helper.make_graph(nodes, "colours", inputs, outputs, [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, metadata or {})
    if external_data is None:
        onnx.save(model, path)
    else:
        onnx.save(model, path, save_as_external_data=True, location=external_data, size_threshold=0)


def put_into_loop(path: Path) -> None:
    """Pass the output of the model in ``path`` through a loop that runs once and changes nothing."""
    types = {"turn": TensorProto.INT64, "go_on": TensorProto.BOOL, "goes_on": TensorProto.BOOL}
    values = {name: helper.make_tensor_value_info(name, type_, []) for name, type_ in types.items()}
    for name in ("before", "after"):
        values[name] = helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3])
    nodes = [helper.make_node("Identity", ["go_on"], ["goes_on"]), helper.make_node("Identity", ["before"], ["after"])]
    inputs, outputs = ("turn", "go_on", "before"), ("goes_on", "after")
    body = helper.make_graph(nodes, "body", [values[name] for name in inputs], [values[name] for name in outputs])
    model = onnx.load(path, load_external_data=False)
    model.graph.node[-1].output[0] = "product"
    model.graph.initializer.append(numpy_helper.from_array(np.array(1, np.int64), "turns"))
    model.graph.node.append(helper.make_node("Loop", ["turns", "", "product"], ["output"], body=body))
    onnx.save(model, path)


def colour_manifest(**changes: Any) -> Manifest:
    fields: dict[str, Any] = {
        "architecture": Architecture("colours", "means of the planes", "user code"),
        "source": Source("state dict", "trained"),
        "input": InputSpec(("batch", 3, HEIGHT, WIDTH)),
        "output": OutputSpec("logits", 3),
        "preprocessing": Preprocessing(resize=(HEIGHT, WIDTH)),
        "labels": COLOURS,
        "variants": (),
    }
    return Manifest(**fields | changes)


def colour_variant(directory: Path, name: str, *, weight: float, batch: str | int, metadata: dict[str, str]) -> Variant:
    model, data = directory / name / "model.onnx", directory / name / "model.onnx.data"
    model.parent.mkdir(parents=True)
    write_colour_model(model, batch=batch, weight=weight, metadata=metadata, external_data=data.name)
    return Variant(
        name,
        "onnx",
        name.partition("-")[2],
        f"{name}/model.onnx",
        bytes=model.stat().st_size + data.stat().st_size,
        sha256={f"{name}/{file.name}": digest(file) for file in (model, data)},
        external_data=f"{name}/model.onnx.data",
        opset=18,
        tolerance=Tolerance("float rounding", 100.0, 0.99999, 1.0, 1.0),
    )


def write_golden(path: Path, *, samples: int = 4) -> None:
    inputs = np.random.default_rng(0).random((samples, 3, HEIGHT, WIDTH), dtype=np.float32)
    np.savez(path, input=inputs, output=10 * inputs.mean(axis=(2, 3)))


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def write_model() -> Callable[..., None]:
    return write_colour_model


@pytest.fixture
def make_manifest() -> Callable[..., Manifest]:
    return colour_manifest


@pytest.fixture
def make_bundle(tmp_path: Path) -> MakeBundle:
    """Write a bundle: ``weights`` by the name of the variant, the batch size, any field of the manifest."""

    def make(
        *,
        weights: dict[str, float] | None = None,
        batch: str | int = "batch",
        golden_samples: int | None = 4,
        **changes: Any,
    ) -> Path:
        directory = tmp_path / "colours.bundle"
        fields: dict[str, Any] = {"input": InputSpec((batch, 3, HEIGHT, WIDTH))}
        metadata = {"vgg_deploy.json": colour_manifest(**fields | changes | {"variants": ()}).dump()}
        variants = [
            colour_variant(directory, name, weight=weight, batch=batch, metadata=metadata)
            for name, weight in (weights or {"onnx-fp32": 10.0}).items()
        ]
        fields["variants"] = tuple(variants)
        if golden_samples is not None:
            write_golden(directory / "golden.npz", samples=golden_samples)
            fields["golden"] = digest(directory / "golden.npz")
        (directory / "bundle.json").write_text(colour_manifest(**fields | changes).dump(), encoding="utf-8")
        return directory

    return make


@pytest.fixture
def bundle(make_bundle: MakeBundle) -> Path:
    return make_bundle()


@pytest.fixture
def looping_bundle(bundle: Path, edit_manifest: EditManifest) -> Path:
    """A bundle whose model has a loop, unlike any that vgg-export writes."""
    model = bundle / "onnx-fp32" / "model.onnx"
    put_into_loop(model)
    edit_manifest(bundle, lambda data: data["variants"][0]["sha256"].update({"onnx-fp32/model.onnx": digest(model)}))
    return bundle


@pytest.fixture
def looping_model(tmp_path: Path) -> Path:
    """A lone file with a loop."""
    model = tmp_path / "model.onnx"
    write_colour_model(model, metadata={"vgg_deploy.json": colour_manifest().dump()})
    put_into_loop(model)
    return model


@pytest.fixture
def decayed_bundle(bundle: Path) -> Path:
    """A bundle whose weights are others than those that were verified, with no trace in the file system."""
    weights = bundle / "onnx-fp32" / "model.onnx.data"
    weights.write_bytes(np.diag(np.full(3, 20, np.float32)).tobytes())
    digests = open_bundle(bundle).manifest.variant("onnx-fp32").sha256
    remember_verified(bundle, digests, file_states(bundle, digests), seen_ns=2**63)
    return bundle


@pytest.fixture
def sign(signer: Any) -> Callable[[Path], Path]:
    """Sign a bundle, as it is now, with the key of ``signer``; return its path."""

    def write_signature(bundle: Path) -> Path:
        signature = signature_of((bundle / MANIFEST).read_bytes(), read_private_key(signer.private))
        (bundle / SIGNATURE).write_bytes(signature)
        return bundle

    return write_signature


@pytest.fixture
def signed_bundle(bundle: Path, sign: Callable[[Path], Path]) -> Path:
    return sign(bundle)


@pytest.fixture
def edit_manifest() -> EditManifest:
    """Change the JSON of a bundle's manifest in place, past every check."""

    def edit(directory: Path, change: Callable[[dict[str, Any]], None]) -> None:
        path = directory / "bundle.json"
        data = json.loads(path.read_text(encoding="utf-8"))
        change(data)
        path.write_text(json.dumps(data), encoding="utf-8")

    return edit


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with one image of each colour, named for it."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for colour in COLOURS:
        Image.new("RGB", (20, 10), colour).save(folder / f"{colour}.png")
    return folder


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
CHROMIUM_OPTIONS = ("--headless", "--no-sandbox", "--disable-dev-shm-usage", "--remote-debugging-pipe")

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
        answer = json.loads(text)
        if answer.get("method") == "Target.attachedToTarget":
            self.release(answer["params"]["sessionId"])
        return answer

    def release(self, worker: str) -> None:
        """Let a worker start that waits for us, and have it tell of its requests."""
        for method in ("Network.enable", "Runtime.runIfWaitingForDebugger"):
            request = {"id": 0, "method": method, "sessionId": worker}  # its answer is nobody's
            os.write(self.requests, json.dumps(request).encode() + b"\0")

    def show(self, url: str, *, width: int = 1280, scheme: str = "light", media: str = "screen") -> None:
        """Load a page into a window of that many CSS pixels and wait for it."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 600
        )
        preference = {"name": "prefers-color-scheme", "value": scheme}
        self.call("Emulation.setEmulatedMedia", media=media, features=[preference])
        self.events.clear()
        self.call("Page.navigate", url=url)
        while "Page.loadEventFired" not in [event.get("method") for event in self.events]:
            self.events.append(self.read())

    def evaluate(self, script: str) -> Any:
        """Return the value of an expression; of a promise, what it resolves to."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def requested(self) -> list[str]:
        """Return the URLs that the page and its workers have asked for."""
        return [event["request"]["url"] for event in self.seen("Network.requestWillBeSent")]

    def faint_texts(self) -> tuple[int, list[str]]:
        """Return how many texts the page has, and those that are hard to read."""
        count, faint = self.evaluate(FAINT_TEXT)
        return count, faint

    def seen(self, *methods: str) -> list[dict[str, Any]]:
        return [event["params"] for event in self.events if event.get("method") in methods]


@contextmanager
def chromium(profile: Path, *options: str) -> Iterator[Browser]:
    """Chromium with ``options``, driven through the pipe of its DevTools protocol; the test is skipped without one."""
    if CHROMIUM is None:
        pytest.skip("no Chromium: apt-get install chromium puts one there")
    request, answer = os.pipe(), os.pipe()
    # Chromium reads its requests from descriptor 3 and answers on 4.
    wired = f'exec {{i}}<&{request[0]} {{o}}>&{answer[1]} 3<&$i 4>&$o; exec "$@"'
    arguments = [*CHROMIUM_OPTIONS, *options, f"--user-data-dir={profile}", "about:blank"]
    command = ["bash", "-c", wired, "chromium", CHROMIUM, *arguments]
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
            tab.call("Target.setAutoAttach", autoAttach=True, waitForDebuggerOnStart=True, flatten=True)
            yield tab
        finally:
            process.kill()
            os.close(request[1])
            os.close(answer[0])


@pytest.fixture(scope="session")
def launch_chromium(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., AbstractContextManager[Browser]]:
    return lambda *options: chromium(tmp_path_factory.mktemp("profile"), *options)


@pytest.fixture(scope="session")
def browser(launch_chromium: Callable[..., AbstractContextManager[Browser]]) -> Iterator[Browser]:
    with launch_chromium("--disable-gpu") as tab:
        yield tab
