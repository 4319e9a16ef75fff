from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vgg_runtime._internal.cache import load_entry, remove_entry, store_entry

KEY = {"model": "abc", "threads": "2"}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VGG_DEPLOY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def files(cache: Path) -> list[Path]:
    return sorted(path for path in cache.rglob("*") if path.is_file())


def test_an_entry_comes_back_with_its_key() -> None:
    assert load_entry("things", KEY) is None
    store_entry("things", KEY, {"answer": [1, 2.5, "three"]})
    assert load_entry("things", KEY) == {"key": KEY, "answer": [1, 2.5, "three"]}


def test_each_kind_has_a_folder_and_each_key_a_file(cache: Path) -> None:
    store_entry("things", KEY, {"answer": 1})
    store_entry("others", KEY, {"answer": 2})
    store_entry("others", {**KEY, "threads": "4"}, {"answer": 3})
    store_entry("others", KEY, {"answer": 4})
    assert [file.parent.name for file in files(cache)] == ["others", "others", "things"]
    assert load_entry("others", KEY) == {"key": KEY, "answer": 4}


@pytest.mark.parametrize("damaged", ["", "{", "[]", "null", "{}", '{"key": {"model": "another"}}', "\udcff"])
def test_a_damaged_file_is_as_none(cache: Path, damaged: str) -> None:
    store_entry("things", KEY, {"answer": 1})
    files(cache)[0].write_bytes(damaged.encode(errors="surrogateescape"))
    assert load_entry("things", KEY) is None


def test_removed_entry_is_gone_and_its_neighbour_stays(cache: Path) -> None:
    store_entry("things", KEY, {"answer": 1})
    store_entry("things", {**KEY, "threads": "4"}, {"answer": 2})
    remove_entry("things", KEY)
    remove_entry("things", KEY)
    assert load_entry("things", KEY) is None
    assert len(files(cache)) == 1


def test_an_entry_that_cannot_be_removed_is_logged(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    store_entry("things", KEY, {"answer": 1})
    entry = files(cache)[0]
    entry.unlink()
    entry.mkdir()
    remove_entry("things", KEY)
    assert "cannot be removed" in caplog.text


def test_a_cache_that_cannot_be_written_is_no_error_but_told(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache.write_text("a file where the folder would be")
    store_entry("things", KEY, {"answer": 1})
    assert load_entry("things", KEY) is None
    assert "the cache cannot be written" in caplog.text


def test_threads_that_store_at_once_do_not_disturb(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    def store(answer: int) -> None:
        for _ in range(100):
            store_entry("things", KEY, {"answer": answer})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(store, range(4)))
    assert not caplog.records
    assert [file.suffix for file in files(cache)] == [".json"]


@pytest.mark.parametrize("directory", [None, "XDG_CACHE_HOME"])
def test_a_user_without_a_home_has_no_cache_unless_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, directory: str | None
) -> None:
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("VGG_DEPLOY_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", nowhere)
    monkeypatch.setattr(sys, "platform", "linux")
    if directory:
        monkeypatch.setenv(directory, str(tmp_path))
    store_entry("things", KEY, {"answer": 1})
    assert load_entry("things", KEY) == ({"key": KEY, "answer": 1} if directory else None)
    assert ("the cache cannot be written" in caplog.text) == (directory is None)
