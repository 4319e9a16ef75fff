"""The Python snippets of the documentation, run as a reader does who types a page from top to bottom."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from vgg_bench.results import Machine, Method, Results
from vgg_export import export
from vgg_runtime.bundle.manifest import Manifest

ROOT = Path(__file__).parents[2]
PAGES = sorted(page for page in (ROOT / "README.md", *ROOT.glob("docs/*.md")) if "```python" in page.read_text("utf-8"))

# What is not meant to run is fenced as text.
SNIPPET = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def untimed_exports() -> Iterator[None]:
    """No page is about latencies, and measuring them takes longer than all the rest."""

    def nothing_is_timed(bundle: Path, manifest: Manifest, on_step: object) -> Results:
        return Results("", "", "", ("onnx-fp32", "onnxruntime"), (), Machine("", "", 1, 1.0), Method("", 0, 0.0, 0, 0))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vgg_export.pipeline.time_variants", nothing_is_timed)
        yield


@pytest.fixture(scope="module")
def reader_folder(untimed_exports: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the pages name: those of the example, its images, and its bundle."""
    folder = tmp_path_factory.mktemp("reader")
    example = ROOT / "examples" / "fashion_mnist"
    shutil.copytree(example, folder / "examples" / "fashion_mnist")
    for file in ("slim_vgg.pth", "preprocess.json", "class_indices.json"):
        shutil.copy(example / file, folder)
    shutil.copytree(example / "images", folder / "photos")
    shutil.copy(example / "images" / "coat" / "00006.png", folder / "coat.png")
    export(
        folder / "slim_vgg.pth",
        folder / "slim_vgg.bundle",
        formats=["onnx"],
        preprocess=folder / "preprocess.json",
        labels=folder / "class_indices.json",
        quantize=["static"],
        calibration=folder / "photos",
    )
    for file in ("model.onnx", "model.onnx.data"):
        shutil.copy(folder / "slim_vgg.bundle" / "onnx-fp32" / file, folder)
    return folder


def test_readme_and_guides_have_snippets() -> None:
    assert {"README.md", "exporting.md", "running.md"} <= {page.name for page in PAGES}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_snippets_of_page_run_in_order(page: Path, reader_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(reader_folder)
    text = page.read_text("utf-8")
    snippets = list(SNIPPET.finditer(text))
    assert len(snippets) == text.count("```python")  # one that is indented would be left out
    names: dict[str, object] = {"__name__": "__main__"}
    for snippet in snippets:
        line = text[: snippet.start(1)].count("\n")
        # Empty lines ahead, so that a traceback names the line of the page.
        exec(compile("\n" * line + snippet[1], str(page), "exec"), names)  # noqa: S102 - the snippets of the documentation
