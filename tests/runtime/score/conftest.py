"""Images for scoring: three colours that the tiny bundle tells apart, many times, in several kinds of sources."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image

COLOURS = ("red", "lime", "blue")

WriteRows = Callable[..., Path]
FindProcesses = Callable[..., list[psutil.Process]]


@pytest.fixture
def processes_of() -> FindProcesses:
    """Find the processes below one, by default this, whose command line has a word, and which have not ended."""

    def has_word(process: psutil.Process, word: str) -> bool:
        try:
            return process.status() != psutil.STATUS_ZOMBIE and word in " ".join(process.cmdline())
        except psutil.NoSuchProcess:  # it has ended since it was listed
            return False

    def find(word: str, below: psutil.Process | None = None) -> list[psutil.Process]:
        descendants = (below or psutil.Process()).children(recursive=True)
        return [process for process in descendants if has_word(process, word)]

    return find


@pytest.fixture
def many_photos(tmp_path: Path) -> Path:
    """40 images in two folders; the name of each ends in its colour."""
    folder = tmp_path / "many"
    for number in range(40):
        file = folder / f"{number // 20}" / f"{number:03d}-{COLOURS[number % 3]}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 10), COLOURS[number % 3]).save(file)
    return folder


@pytest.fixture
def tar_of_photos(many_photos: Path, tmp_path: Path) -> Path:
    """The same in the layout of WebDataset: an image and its class, side by side."""
    archive = tmp_path / "photos.tar"
    with tarfile.open(archive, "w") as tar:
        for file in sorted(many_photos.glob("*/*.png")):
            label = tmp_path / "label.cls"
            label.write_text(file.stem)
            tar.add(file, f"{file.stem}.png")
            tar.add(label, f"{file.stem}.cls")
            tar.add(label, f"._{file.stem}.png")  # as macOS adds beside a file
    return archive


@pytest.fixture
def parquet_of_photos(many_photos: Path, tmp_path: Path) -> WriteRows:
    """Write a Parquet file whose column ``image`` is made by ``as_value(file)``."""
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")

    def write(
        as_value: Callable[[Path], Any] = Path.read_bytes, *, rows_per_group: int = 40, **more: list[Any]
    ) -> Path:
        values = [as_value(file) for file in sorted(many_photos.glob("*/*.png"))]
        pq.write_table(pa.table({"image": values, **more}), tmp_path / "photos.parquet", row_group_size=rows_per_group)
        return tmp_path / "photos.parquet"

    return write


def read_rows(output: Path) -> list[dict[str, Any]]:
    """The rows of all shards that are JSON Lines, in order."""
    return [json.loads(line) for file in sorted(output.glob("part-*.jsonl")) for line in file.read_text().splitlines()]


@pytest.fixture
def rows_of() -> Callable[[Path], list[dict[str, Any]]]:
    return read_rows
