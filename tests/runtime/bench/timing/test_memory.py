from __future__ import annotations

import os
import subprocess
import sys

import psutil
import pytest

from vgg_bench.timing.memory import available_share, machine_memory_gb, process_memory

MEGABYTES = """
import mmap, tempfile
from vgg_bench.timing.memory import process_memory
def shown(memory): return memory.peak, memory.steady, memory.private
before = shown(process_memory())
{code}
print(*(after - start for start, after in zip(before, shown(process_memory()))))
"""

needs_proc = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


def growth(code: str) -> list[float]:
    """By how many MB peak, steady and private memory of a fresh process grow while it runs ``code``."""
    done = subprocess.run([sys.executable, "-c", MEGABYTES.format(code=code)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [float(word) for word in done.stdout.split()]


@needs_proc
@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("kept = bytearray(b'x' * 50_000_000)", (100, 50, 50)),
        ("freed = bytearray(50_000_000); freed[::1000] = b'x' * 50_000; del freed", (50, 0, 0)),
        (
            "file = tempfile.TemporaryFile(); file.write(b'x' * 50_000_000); file.flush()\n"
            "mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ); sum(mapped[::4096])",
            (50, 50, 0),
        ),
    ],
    ids=["kept", "freed again", "backed by a file"],
)
def test_memory_is_told_apart(code: str, expected: tuple[int, int, int]) -> None:
    assert growth(code) == pytest.approx(expected, abs=5)


@needs_proc
def test_the_peak_is_not_that_of_who_started_the_process() -> None:
    kept = bytearray(b"x" * 300_000_000)
    code = "from vgg_bench.timing.memory import process_memory; print(process_memory().peak)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < len(kept) / 1e6


def test_the_machine_is_told_as_psutil_tells_it() -> None:
    memory = psutil.virtual_memory()
    assert machine_memory_gb() == pytest.approx(memory.total / 1e9, rel=0.01)
    assert available_share() == pytest.approx(memory.available / memory.total, abs=0.1)


def test_elsewhere_psutil_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vgg_bench.timing.memory.PROC", None)
    memory = process_memory()
    assert memory is not None
    assert memory.steady == pytest.approx(psutil.Process(os.getpid()).memory_info().rss / 1e6, rel=0.2)
    assert memory.peak >= memory.private > 0
    assert 0 < available_share() < 1


def test_without_either_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vgg_bench.timing.memory.PROC", None)
    monkeypatch.setitem(sys.modules, "psutil", None)
    assert process_memory() is None
    assert machine_memory_gb() == available_share() == 0
