from __future__ import annotations

from pathlib import Path

import pytest

from vgg_calibration.ranges.methods import Range
from vgg_calibration.statistics.collect import load_ranges, store_ranges
from vgg_runtime._internal.cache import cache_directory

KEY = {"model": "abc", "images": "def", "method": "mse"}
RANGES = {"input": Range(-0.25, 1 / 3), "relu": Range(0, 6.0)}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VGG_DEPLOY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def the_file(cache: Path) -> Path:
    (file,) = (path for path in cache.rglob("*") if path.is_file())
    return file


def test_what_was_stored_comes_back_to_the_bit() -> None:
    assert load_ranges(KEY) is None
    store_ranges(KEY, RANGES)
    assert load_ranges(KEY) == RANGES


def test_the_file_is_readable_and_the_only_one(cache: Path) -> None:
    store_ranges(KEY, RANGES)
    store_ranges(KEY, RANGES)
    text = the_file(cache).read_text()
    assert '"relu"' in text
    assert '"method": "mse"' in text


@pytest.mark.parametrize("word", KEY)
def test_another_model_image_or_method_has_its_own(word: str) -> None:
    store_ranges(KEY, RANGES)
    assert load_ranges({**KEY, word: "other"}) is None


def test_a_file_under_the_name_of_another_key_is_not_taken(cache: Path) -> None:
    store_ranges(KEY, RANGES)
    text = the_file(cache).read_text()
    the_file(cache).write_text(text.replace('"abc"', '"another model"'))
    assert load_ranges(KEY) is None


@pytest.mark.parametrize(
    "damaged",
    [
        "",
        "{",
        "[]",
        "null",
        '{"ranges": {}}',
        '{"key": KEY}',
        '{"key": KEY, "ranges": []}',
        '{"key": KEY, "ranges": {"relu": 1}}',
        '{"key": KEY, "ranges": {"relu": [1]}}',
        '{"key": KEY, "ranges": {"relu": [0, "wide"]}}',
        '{"key": KEY, "ranges": {"relu": [1, 2]}}',
        '{"key": KEY, "ranges": {"relu": [NaN, 2]}}',
        '{"key": KEY, "ranges": {"relu": [0, Infinity]}}',
        "\udcff",
    ],
)
def test_a_damaged_file_is_as_none_and_is_replaced(cache: Path, damaged: str) -> None:
    store_ranges(KEY, RANGES)
    text = damaged.replace("KEY", '{"model": "abc", "images": "def", "method": "mse"}')
    the_file(cache).write_bytes(text.encode(errors="surrogateescape"))
    assert load_ranges(KEY) is None
    store_ranges(KEY, RANGES)
    assert load_ranges(KEY) == RANGES


def test_a_cache_that_cannot_be_written_is_no_error(cache: Path) -> None:
    cache.write_text("a file where the folder would be")
    store_ranges(KEY, RANGES)
    assert load_ranges(KEY) is None
    assert cache.read_text() == "a file where the folder would be"


def test_a_full_disk_is_no_error_and_leaves_no_half_file(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_half(path: Path, text: str, **options: str) -> None:
        path.write_bytes(text[: len(text) // 2].encode())
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", write_half)
    store_ranges(KEY, RANGES)
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_where_the_cache_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_directory() == tmp_path / "cache"
    monkeypatch.delenv("VGG_DEPLOY_CACHE")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_directory() == tmp_path / "xdg" / "vgg-deploy"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_directory() == tmp_path / ".cache" / "vgg-deploy"
