from __future__ import annotations

import platform
from collections.abc import Iterator
from pathlib import Path

import pytest

from vgg_runtime._internal.cpu import cpu_model_name


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    cpu_model_name.cache_clear()
    yield
    cpu_model_name.cache_clear()


def test_linux_tells_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nprocessor\t: 1\nmodel name\t: Some CPU @ 2 GHz\n"
    monkeypatch.setattr(Path, "read_text", lambda path, **options: lines)
    assert cpu_model_name() == "Some CPU @ 2 GHz"


@pytest.mark.parametrize("error", [FileNotFoundError, None])
def test_elsewhere_the_architecture_has_to_do(monkeypatch: pytest.MonkeyPatch, error: type[Exception] | None) -> None:
    def read(path: Path, **options: str) -> str:
        if error is not None:
            raise error(path)
        return "processor\t: 0\nBogoMIPS\t: 108.00\n"

    monkeypatch.setattr(Path, "read_text", read)
    monkeypatch.setattr(platform, "processor", lambda: "")
    assert cpu_model_name() == platform.machine()
