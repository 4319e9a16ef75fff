from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "model").write_bytes(b"abc")
    (tmp_path / "bundle" / "weights").write_bytes(bytes(20 * 2**20 + 1))  # more than one chunk, and a rest
    return tmp_path / "bundle"


@pytest.fixture
def expected(folder: Path) -> dict[str, str]:
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in ("model", "weights")}


@pytest.fixture
def let_the_clock_move_on(tmp_path: Path, folder: Path) -> Callable[[], None]:
    """Return when a change gets another time than the newest file has: file systems count in steps of milliseconds."""

    def wait() -> None:
        newest, clock = max(file.stat().st_ctime_ns for file in folder.iterdir()), tmp_path / "clock"
        while clock.write_bytes(b"") or clock.stat().st_ctime_ns <= newest:
            pass

    return wait


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VGG_DEPLOY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
