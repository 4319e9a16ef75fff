from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from vgg_runtime.bundle.verified_files import (
    CLOCK_STEP_NS,
    file_states,
    forget_verified,
    remember_verified,
    were_verified,
)

pytestmark = [
    pytest.mark.usefixtures("cache"),
    pytest.mark.skipif(sys.platform == "win32", reason="nothing is remembered there"),
]


def newest_ns(folder: Path) -> int:
    return max(file.stat().st_ctime_ns for file in folder.iterdir())


def remember(folder: Path, expected: dict[str, str]) -> None:
    """As if the files were not new."""
    states = file_states(folder, expected)
    remember_verified(folder, expected, states, seen_ns=newest_ns(folder) + CLOCK_STEP_NS + 1)


def known(folder: Path, expected: dict[str, str]) -> bool:
    return were_verified(folder, expected, file_states(folder, expected))


def test_files_that_were_left_alone_are_known(folder: Path, expected: dict[str, str]) -> None:
    assert not known(folder, expected)
    remember(folder, expected)
    (folder / "weights").read_bytes()
    assert known(folder, expected)


def test_files_that_were_forgotten_are_not_known(folder: Path, expected: dict[str, str]) -> None:
    remember(folder, expected)
    forget_verified(folder, expected)
    assert not known(folder, expected)


def test_a_link_to_the_folder_leads_to_the_same_files(folder: Path, expected: dict[str, str]) -> None:
    remember(folder, expected)
    folder.with_name("latest").symlink_to(folder)
    assert known(folder.with_name("latest"), expected)


def with_times_of(file: Path, change: Callable[[Path], object]) -> None:
    status = file.stat()
    change(file)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def write_in_place(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.write(b"z")


def rename_over(file: Path) -> None:
    shutil.copy2(file, file.with_suffix(".new"))
    file.with_suffix(".new").replace(file)


def write_in_place_and_set_mtime_back(file: Path) -> None:
    with_times_of(file, write_in_place)


def set_mtime_to_what_it_is(file: Path) -> None:
    with_times_of(file, Path.exists)


def truncate(file: Path) -> None:
    os.truncate(file, 2)


CHANGES = [
    write_in_place,
    rename_over,
    write_in_place_and_set_mtime_back,
    set_mtime_to_what_it_is,
    truncate,
    Path.touch,
    Path.unlink,
]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", ["model", "weights"])
def test_a_file_that_was_touched_is_not_known(
    folder: Path,
    expected: dict[str, str],
    let_the_clock_move_on: Callable[[], None],
    name: str,
    change: Callable[[Path], object],
) -> None:
    remember(folder, expected)
    let_the_clock_move_on()
    change(folder / name)
    assert not known(folder, expected)


@pytest.mark.parametrize("field", ["st_dev", "st_ino", "st_size", "st_mtime_ns", "st_ctime_ns"])
def test_each_field_of_a_state_counts(folder: Path, expected: dict[str, str], field: str) -> None:
    remember(folder, expected)
    states = file_states(folder, expected)
    weights = states["weights"]
    assert weights is not None
    assert weights[field] == getattr((folder / "weights").stat(), field)
    assert not were_verified(folder, expected, states | {"weights": weights | {field: weights[field] + 1}})


def test_another_digest_is_not_known(folder: Path, expected: dict[str, str]) -> None:
    remember(folder, expected)
    assert not known(folder, expected | {"model": "0" * 64})


def test_a_copy_is_not_known_and_remembered_beside(folder: Path, expected: dict[str, str]) -> None:
    remember(folder, expected)
    copy = shutil.copytree(folder, folder.with_name("copy"))
    assert not known(copy, expected)
    remember(copy, expected)
    assert known(copy, expected)
    assert known(folder, expected)


@pytest.mark.parametrize(("age_ns", "is_known"), [(-1, False), (CLOCK_STEP_NS, False), (CLOCK_STEP_NS + 1, True)])
def test_files_as_young_as_a_step_of_the_clock_are_not(
    folder: Path, expected: dict[str, str], age_ns: int, is_known: bool
) -> None:
    """A second write within the step would leave them the same times."""
    remember_verified(folder, expected, file_states(folder, expected), seen_ns=newest_ns(folder) + age_ns)
    assert known(folder, expected) == is_known


def test_a_file_from_the_future_is_not_remembered(folder: Path, expected: dict[str, str]) -> None:
    """The clock was set back: a later write may get the times that the file has."""
    seen = newest_ns(folder) + 2 * CLOCK_STEP_NS
    os.utime(folder / "model", ns=(0, seen + CLOCK_STEP_NS))
    remember_verified(folder, expected, file_states(folder, expected), seen_ns=seen)
    assert not known(folder, expected)


@pytest.mark.parametrize("part", [0, 0.5, 0.99])
def test_a_truncated_entry_is_as_none(folder: Path, expected: dict[str, str], cache: Path, part: float) -> None:
    remember(folder, expected)
    [entry] = cache.rglob("*.json")
    os.truncate(entry, int(part * entry.stat().st_size))
    assert not known(folder, expected)


def test_a_cache_that_cannot_be_written_is_no_trouble(
    folder: Path, expected: dict[str, str], cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache.write_text("a file where the folder would be")
    remember(folder, expected)
    assert not known(folder, expected)
    assert not caplog.records  # nothing is wrong with that machine: the files are hashed at every start


def test_windows_whose_ctime_is_another_has_no_memory(
    folder: Path, expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    remember(folder, expected)
    assert not known(folder, expected)


PROCESS = """
import json, sys
from pathlib import Path
from vgg_runtime.bundle.verified_files import file_states, remember_verified, were_verified
folder, expected, seen_ns = Path(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3])
states = file_states(folder, expected)
for _ in range(200):
    remember_verified(folder, expected, states, seen_ns=seen_ns)
    assert were_verified(folder, expected, states)
"""


def test_two_processes_do_not_disturb_each_other(folder: Path, expected: dict[str, str], cache: Path) -> None:
    seen = newest_ns(folder) + CLOCK_STEP_NS + 1
    command = [sys.executable, "-c", PROCESS, str(folder), json.dumps(expected), str(seen)]
    processes = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    assert known(folder, expected)
    assert [path.suffix for path in cache.rglob("*") if path.is_file()] == [".json"]
