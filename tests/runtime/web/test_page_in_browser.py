"""The page in headless Chromium, with the real onnxruntime-web, served to it from this machine."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from photos import as_pillow_decodes, write_photos
from PIL import Image

from vgg_runtime import Classifier
from vgg_runtime.bundle.directory import Bundle
from vgg_runtime.imaging.folders import find_images
from vgg_runtime.metrics import snr_db
from vgg_web.writing import write_page

ROOT = Path(__file__).parents[3]
ENGINE = ROOT / "build" / "web" / "node_modules" / "onnxruntime-web"

# WebGPU on the CPU, and a camera that shows a test pattern to whoever asks.
OPTIONS = (
    *("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan"),
    *("--use-vulkan=swiftshader", "--ignore-gpu-blocklist"),
    *("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"),
)
COMPLAINTS = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")

# In dB, of outputs in the browser relative to those of Python's runtime: they may differ by the order of sums, and by
# activations that are rounded to 8 bits in between.
LEAST_SNR_DB = {"fp32": 100, "fp16": 100} | dict.fromkeys(
    ("int8-dynamic", "int8-static", "int8-weights", "int4-weights"), 40
)


class Handler(SimpleHTTPRequestHandler):
    """Files with what allows threads, if ``isolated``."""

    extensions_map = SimpleHTTPRequestHandler.extensions_map | {".mjs": "text/javascript", ".js": "text/javascript"}

    def __init__(self, *arguments: Any, isolated: bool, **options: Any) -> None:
        self.isolated = isolated
        super().__init__(*arguments, **options)

    def end_headers(self) -> None:
        if self.isolated:
            self.send_header("Cross-Origin-Opener-Policy", "same-origin")
            self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()

    def log_message(self, *arguments: Any) -> None:
        pass


@contextmanager
def serving(handler: Callable[..., SimpleHTTPRequestHandler]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def site(whole_bundle: Bundle, embedded_bundle: Bundle, example: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page, and beside it bundles with every variant and the images of the example."""
    if not ENGINE.is_dir():
        pytest.skip("no onnxruntime-web in build/web: make build/web/ready puts it there, if npm is installed")
    folder = tmp_path_factory.mktemp("site")
    write_page(embedded_bundle.directory, folder / "page", onnxruntime_web=ENGINE)
    shutil.copytree(whole_bundle.directory, folder / "whole")
    shutil.copytree(embedded_bundle.directory, folder / "embedded")
    shutil.copytree(example.images, folder / "images")
    write_photos(folder / "photos")
    return folder


@pytest.fixture(scope="module")
def origin(site: Path) -> Iterator[str]:
    with serving(partial(Handler, directory=str(site), isolated=True)) as address:
        yield f"http://{address}"


@pytest.fixture(scope="module")
def browser(launch_chromium: Callable[..., AbstractContextManager[Any]], site: Path) -> Iterator[Any]:
    with launch_chromium(*OPTIONS) as tab:
        yield tab


@pytest.fixture
def run(browser: Any, origin: str) -> Callable[..., Any]:
    """Run the body of a function with ``Classifier`` in a page of the site, and return its result."""
    browser.show(f"{origin}/page/page.css")

    def run(body: str, **names: Any) -> Any:
        constants = "".join(f"const {name} = {json.dumps(value)};\n" for name, value in names.items())
        modules = 'const { Classifier } = await import("/page/vgg_runtime.js");\n'
        return browser.evaluate(f"(async () => {{ {constants} {modules} {body} }})()")

    return run


def open_page(browser: Any, url: str, **options: Any) -> str:
    """Show the page, wait until it is ready or says why not, and return what it says."""
    browser.show(url, **options)
    wait_for(browser, "!document.getElementById('file').disabled || !document.getElementById('error').hidden")
    return browser.evaluate("document.body.innerText")


def wait_for(browser: Any, condition: str) -> None:
    """Wait until a condition in JavaScript holds; a page that hangs ends the test after three minutes."""
    look = (
        f"const look = () => ({condition}) ? met(true) : tries-- ? setTimeout(look, 20) : met(document.body.innerText);"
    )
    assert browser.evaluate(f"new Promise((met) => {{ let tries = 9000; {look} look(); }})") is True


@pytest.mark.parametrize("width", [360, 1280])
def test_page_passes_its_self_test_and_fits(browser: Any, origin: str, width: int) -> None:
    text = open_page(browser, f"{origin}/page/index.html", width=width)
    assert "passed: " in text
    assert "onnx-int8-static" in text
    assert "on WASM" in text
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.seen(*COMPLAINTS) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_of_page_stands_out(browser: Any, origin: str, scheme: str, site: Path) -> None:
    open_page(browser, f"{origin}/page/index.html", scheme=scheme)
    choose(browser, find_images([site / "images"])[0])
    texts, faint = browser.faint_texts()
    assert texts > 25
    assert faint == []


def choose(browser: Any, image: Path) -> list[list[str]]:
    """Choose a file as a person does; return the classes and percentages that appear."""
    node = browser.call("Runtime.evaluate", expression="document.getElementById('file')")["result"]["objectId"]
    browser.call("DOM.setFileInputFiles", files=[str(image)], objectId=node)
    wait_for(browser, f"document.getElementById('status').textContent === '{image.name}:'")
    items = "[...document.querySelectorAll('#predictions li')]"
    return browser.evaluate(f"{items}.map((item) => [...item.children].map((part) => part.textContent))")


def test_chosen_file_gets_the_classes_of_python(browser: Any, origin: str, site: Path, embedded_bundle: Bundle) -> None:
    open_page(browser, f"{origin}/page/index.html")
    image = find_images([site / "images"])[5]
    with Classifier.open(embedded_bundle.directory, variant="onnx-int8-static", device="cpu") as classifier:
        expected = [[each.label, f"{each.probability:.2%}".replace("%", " %")] for each in classifier.predict(image)]
    assert [cells[:2] for cells in choose(browser, image)] == expected


def test_camera_is_classified_until_it_is_stopped(browser: Any, origin: str) -> None:
    open_page(browser, f"{origin}/page/index.html")
    press = "document.getElementById('camera').click()"
    browser.evaluate(press)
    wait_for(browser, "document.querySelectorAll('#predictions li').length === 5")
    assert browser.evaluate("document.getElementById('camera').getAttribute('aria-pressed')") == "true"
    assert browser.evaluate("document.getElementById('video').videoWidth") > 0
    browser.evaluate(press)
    assert browser.evaluate("document.getElementById('video').srcObject.active") is False
    assert browser.evaluate("document.getElementById('camera').getAttribute('aria-pressed')") == "false"


def test_files_decode_to_the_pixels_of_pillow(run, site: Path) -> None:
    files = sorted((site / "photos").iterdir())
    decoded = run(
        """
        const { decode } = await import("/page/vgg_runtime/decoding.js");
        const digest = async (bytes) => Array.from(new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)));
        return Promise.all(names.map(async (name) => {
          const { image, orientation } = await decode(`/photos/${name}`);
          const rgb = image.data.filter((_, i) => i % 4 !== 3);
          return [name, image.width, image.height, orientation, await digest(rgb)];
        }));
        """,
        names=[file.name for file in files],
    )
    assert decoded == [[file.name, *as_pillow_decodes(file)] for file in files]
    assert len(files) > 35


def test_every_kind_of_source_gives_the_same_pixels(run) -> None:
    assert (
        run(
            """
        const { decode } = await import("/page/vgg_runtime/decoding.js");
        const url = "/photos/rgb.png";
        const blob = await (await fetch(url)).blob();
        const bitmap = await createImageBitmap(blob);
        const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
        const context = canvas.getContext("2d");
        context.drawImage(bitmap, 0, 0);
        const img = Object.assign(new Image(), { src: url });
        await img.decode();
        const pixels = context.getImageData(0, 0, bitmap.width, bitmap.height);
        const sources = [blob, await blob.arrayBuffer(), new URL(url, location), img, pixels, canvas, bitmap];
        const expected = (await decode(url)).image.data;
        const decoded = await Promise.all(sources.map(decode));
        return decoded.map(({ image }) => image.data.every((value, i) => value === expected[i]));
        """
        )
        == [True] * 7
    )


REFUSED = {
    "deep.png": ("ImageError", "the image has 16 bits per channel; 8-bit images are accepted."),
    "cmyk.jpg": ("ImageError", "the image is CMYK, which is converted unlike Pillow does it."),
    "clear.gif": ("ImageError", "the GIF is transparent, and browsers drop the colours that are there."),
    "text.png": ("ImageError", "this browser cannot decode the image: "),
    "none.png": ("ImageError", "/refused/none.png cannot be loaded: 404 "),
}


def test_images_whose_pixels_would_differ_are_refused(run, site: Path) -> None:
    folder = site / "refused"
    folder.mkdir()
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(folder / "deep.png")
    Image.new("CMYK", (8, 8)).save(folder / "cmyk.jpg")
    Image.new("P", (8, 8)).save(folder / "clear.gif", transparency=0)
    (folder / "text.png").write_text("not an image")
    errors = run(
        """
        const { decode } = await import("/page/vgg_runtime/decoding.js");
        const refusal = (name) => decode(`/refused/${name}`).catch((error) => [error.name, error.message]);
        return Promise.all(names.map(refusal));
        """,
        names=list(REFUSED),
    )
    for (name, message), (expected, start) in zip(errors, REFUSED.values(), strict=True):
        assert name == expected
        assert message.startswith(start)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("predict(42)", "UsageError: Number is not an image."),
        ("predict(null)", "UsageError: null is not an image."),
        ("predict('/photos/rgb.png', { topK: 0 })", "UsageError: topK must be an integer >= 1, got 0."),
        ("logits(new Uint8Array(3))", "UsageError: the network takes 784 values, got 3."),
    ],
)
def test_wrong_call_is_refused_with_what_is_accepted(run, call: str, error: str) -> None:
    body = """
    const classifier = await Classifier.open("/page/bundle/", { threads: 1 });
    return classifier.%s.catch(String);
    """
    assert run(body % call) == error


@pytest.mark.parametrize(
    ("url", "options", "error"),
    [
        ("/nowhere/", {}, "BundleError: /nowhere/bundle.json cannot be loaded: 404 "),
        ("/whole/", {}, "UsageError: the bundle has several variants."),
        ("/whole/", {"variant": "onnx-int2"}, "BundleError: the bundle has no ONNX variant 'onnx-int2'."),
        ("/whole/", {"variant": "torchscript-fp32"}, "BundleError: the bundle has no ONNX variant 'torchscript-fp32'."),
        ("/page/bundle", {"backend": "cuda"}, "UsageError: backend must be 'auto', 'wasm' or 'webgpu', got 'cuda'."),
        ("/page/bundle", {"threads": 0}, "UsageError: threads must be an integer >= 1, got 0."),
        ("/changed/", {}, "ChecksumError: onnx-int8-static/model.onnx was changed after it was written"),
        ("/newer/", {}, "BundleError: the bundle has schema version 9; this release reads 1."),
    ],
)
def test_what_cannot_be_opened_is_refused(run, site: Path, url: str, options: dict[str, Any], error: str) -> None:
    for name in ("changed", "newer"):
        shutil.copytree(site / "page" / "bundle", site / name, dirs_exist_ok=True)
    with (site / "changed" / "onnx-int8-static" / "model.onnx").open("ab") as file:
        file.write(b"\0")
    manifest = site / "newer" / "bundle.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"schema_version": 9}))
    assert run("return Classifier.open(url, options).catch(String)", url=url, options=options).startswith(error)


def test_page_of_a_variant_that_misses_predicts_nothing(browser: Any, origin: str, site: Path) -> None:
    page = site / "missing"
    shutil.copytree(site / "page", page)
    golden, manifest = page / "bundle" / "golden.npz", page / "bundle" / "bundle.json"
    with np.load(golden) as arrays:
        np.savez(golden, input=arrays["input"], output=-arrays["output"])
    digest = hashlib.sha256(golden.read_bytes()).hexdigest()
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"golden": digest}))
    text = open_page(browser, f"{origin}/missing/index.html")
    assert "outputs on wasm differ from those of the build machine: signal-to-noise ratio in dB -6.0" in text
    assert browser.evaluate("document.getElementById('file').disabled && document.getElementById('camera').disabled")


IS_A_GPU = "Object.defineProperty(GPUAdapterInfo.prototype, 'isFallbackAdapter', { value: false });"


@pytest.mark.parametrize(
    ("variant", "adapter", "backend", "reason"),
    [
        ("onnx-fp32", IS_A_GPU, "webgpu", "it gives the golden outputs"),
        (
            "onnx-fp16",
            IS_A_GPU,
            "wasm",
            "WebGPU was tried: onnxruntime-web cannot load onnx-fp16/model.onnx on webgpu: ",
        ),
        ("onnx-fp32", "", "wasm", "this browser emulates WebGPU on the CPU"),
        ("onnx-int8-static", IS_A_GPU, "wasm", "WebGPU is for fp32 and fp16"),
    ],
    ids=["right", "fails", "emulated", "int8"],
)
def test_webgpu_is_chosen_where_it_is_right(run, variant: str, adapter: str, backend: str, reason: str) -> None:
    body = """
    const classifier = await Classifier.open("/whole/", { variant });
    return [classifier.backend, classifier.backendReason];
    """
    chosen, why = run(adapter + body, variant=variant)
    assert chosen == backend
    assert why.startswith(reason)


def test_webgpu_that_was_asked_for_does_not_fall_back(run) -> None:
    body = 'return Classifier.open("/whole/", { variant: "onnx-fp16", backend: "webgpu" }).catch(String)'
    assert run(body).startswith("MissingCapabilityError: onnxruntime-web cannot load onnx-fp16/model.onnx on webgpu: ")


THREADS = """
const open = (options) => Classifier.open("/page/bundle/", options);
return [(await open({})).threads, await open({ threads: 2 }).then(({ threads }) => threads, String)];
"""


def test_threads_follow_from_the_headers(run, browser: Any, site: Path) -> None:
    assert run(THREADS) == [min(4, run("return navigator.hardwareConcurrency")), 2]
    with serving(partial(Handler, directory=str(site), isolated=False)) as address:
        browser.show(f"http://{address}/page/page.css")
        code = f'(async () => {{ const {{ Classifier }} = await import("/page/vgg_runtime.js"); {THREADS} }})()'
        default, error = browser.evaluate(code)
    assert default == 1
    assert error.startswith("MissingCapabilityError: 2 threads need shared memory")


@pytest.mark.parametrize("batch", ["batch", 3])
def test_bundle_of_any_batch_size_tells_colours(run, site: Path, make_bundle: Callable[..., Path], batch: Any) -> None:
    shutil.copytree(make_bundle(batch=batch), site / f"colours-{batch}")
    body = """
    const classifier = await Classifier.open(url);
    const figures = await classifier.selfTest();
    const colours = ["red", "lime", "blue"].map((colour) => {
      const context = new OffscreenCanvas(20, 10).getContext("2d");
      context.fillStyle = colour;
      context.fillRect(0, 0, 20, 10);
      return classifier.predict(context.canvas, { topK: 1 }); // all at once: the engine runs one at a time
    });
    return [figures.top1Agreement, (await Promise.all(colours)).map(([{ label }]) => label)];
    """
    assert run(body, url=f"/colours-{batch}") == [1, ["red", "lime", "blue"]]


def test_bundle_without_golden_outputs_has_no_self_test(run, site: Path, make_bundle: Callable[..., Path]) -> None:
    shutil.copytree(make_bundle(golden_samples=None), site / "unverified")
    body = f"""{IS_A_GPU}
    const classifier = await Classifier.open("/unverified/");
    return [await classifier.selfTest(), classifier.backendReason];
    """
    assert run(body) == [None, "the bundle has no golden outputs to check WebGPU against"]


def test_javascript_of_the_documentation_runs(browser: Any, origin: str, site: Path) -> None:
    page = (ROOT / "docs" / "browser.md").read_text("utf-8")
    (example,) = re.findall(r"```html\n(.*?)```", page, re.DOTALL)
    (site / "example.html").write_text(example)
    browser.show(f"{origin}/example.html")
    wait_for(browser, "!document.querySelector('input').disabled")
    node = browser.call("Runtime.evaluate", expression="document.querySelector('input')")["result"]["objectId"]
    browser.call("DOM.setFileInputFiles", files=[str(site / "images" / "coat" / "00006.png")], objectId=node)
    wait_for(browser, "document.querySelector('output').value")
    assert browser.evaluate("document.querySelector('output').value") == "coat: 96.0 %"


@pytest.mark.parametrize("precision", LEAST_SNR_DB)
@pytest.mark.parametrize("folder", ["whole", "embedded"])
def test_variant_gives_the_outputs_of_python(
    run, site: Path, folder: str, precision: str, whole_bundle: Bundle, embedded_bundle: Bundle
) -> None:
    images = find_images([site / "images"])
    outputs = run(
        """
        const classifier = await Classifier.open(`/${folder}/`, { variant, backend: "wasm", threads: 1 });
        await classifier.selfTest();
        const outputs = [];
        for (const url of urls) outputs.push([...(await classifier.logits(await classifier.preprocess(url)))]);
        await classifier.close();
        return outputs;
        """,
        folder=folder,
        variant=f"onnx-{precision}",
        urls=[f"/{image.relative_to(site).as_posix()}" for image in images],
    )
    bundle = whole_bundle if folder == "whole" else embedded_bundle
    with Classifier.open(bundle.directory, variant=f"onnx-{precision}", device="cpu") as classifier:
        expected = np.stack([classifier.logits(classifier.preprocess(image)[None])[0] for image in images])
    assert snr_db(expected, np.array(outputs)) > LEAST_SNR_DB[precision]
    assert np.array_equal(np.argmax(outputs, axis=1), expected.argmax(axis=1))


FROM_ELSEWHERE = "fetch('http://elsewhere.test/page').catch(({ name }) => name)"
FROM_ELSEWHERE_IN_A_WORKER = """
new Promise((answer) => {
  const code = "fetch('http://elsewhere.test/worker').catch(({ name }) => postMessage(name))";
  new Worker(URL.createObjectURL(new Blob([code]))).onmessage = ({ data }) => answer(data);
})
"""


def test_page_asks_for_nothing_from_elsewhere(browser: Any, origin: str, site: Path) -> None:
    text = open_page(browser, f"{origin}/page/index.html?threads=2")
    choose(browser, find_images([site / "images"])[0])
    assert "2 threads" in text  # which are workers
    assert browser.evaluate(FROM_ELSEWHERE) == "TypeError"
    assert {url for url in browser.requested() if not url.startswith((f"{origin}/page/", "blob:", "data:"))} == set()


def test_requests_of_page_without_policy_are_seen(browser: Any, origin: str) -> None:
    browser.show(f"{origin}/page/page.css")
    assert [browser.evaluate(script) for script in (FROM_ELSEWHERE, FROM_ELSEWHERE_IN_A_WORKER)] == ["TypeError"] * 2
    assert {"http://elsewhere.test/page", "http://elsewhere.test/worker"} <= set(browser.requested())
