"""The Python snippets of the documentation, run as a reader does who types a page from top to bottom."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(page for page in (ROOT / "README.md", *ROOT.glob("docs/*.md")) if "```python" in page.read_text("utf-8"))

# What is not meant to run is fenced as text.
SNIPPET = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def test_readme_and_guides_have_snippets() -> None:
    assert {"README.md", "exporting.md", "running.md"} <= {page.name for page in PAGES}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_snippets_of_page_run_in_order(
    page: Path, reader_folder: Path, untimed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(reader_folder)
    text = page.read_text("utf-8")
    snippets = list(SNIPPET.finditer(text))
    assert len(snippets) == text.count("```python")  # one that is indented would be left out
    names: dict[str, object] = {"__name__": "__main__"}
    for snippet in snippets:
        line = text[: snippet.start(1)].count("\n")
        # Empty lines ahead, so that a traceback names the line of the page.
        exec(compile("\n" * line + snippet[1], str(page), "exec"), names)  # noqa: S102 - the snippets of the documentation
