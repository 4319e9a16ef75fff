from __future__ import annotations

import os
from pathlib import Path

import pytest

from vgg_runtime._internal import cpu
from vgg_runtime._internal.cpu import available_threads, cpu_quota


def test_no_more_threads_than_the_process_may_use() -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    assert 1 <= available_threads() <= cores


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not pin processes to cores")
def test_a_pinned_process_gets_one_thread() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert available_threads() == 1
    finally:
        os.sched_setaffinity(0, before)


def write_files(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "garbage\n"}, None),
        ({"cpu.max": "1 0\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0.5),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({}, None),
    ],
)
def test_the_quota_of_either_version_of_control_groups(
    tmp_path: Path, files: dict[str, str], quota: float | None
) -> None:
    write_files(tmp_path, files)
    assert cpu_quota(tmp_path, tmp_path / "none") == quota


@pytest.mark.parametrize(
    ("membership", "files", "quota"),
    [
        ("0::/pod/box\n", {"pod/box/cpu.max": "50000 100000", "pod/cpu.max": "300000 100000"}, 0.5),
        ("0::/pod/box\n", {"pod/box/cpu.max": "max 100000", "pod/cpu.max": "300000 100000"}, 3),
        ("0::/pod/box\n", {"other/cpu.max": "50000 100000", "cpu.max": "400000 100000"}, 4),
        ("0::/../box\n", {"cpu.max": "200000 100000"}, 2),
        (
            "4:memory:/pod\n3:cpu,cpuacct:/pod/box\n0::/\n",
            {"cpu/pod/cpu.cfs_quota_us": "150000", "cpu/pod/cpu.cfs_period_us": "100000"},
            1.5,
        ),
        ("3:cpuset:/pod\n", {"cpu/pod/cpu.cfs_quota_us": "1", "cpu/pod/cpu.cfs_period_us": "1"}, None),
        ("no colons\n", {"cpu.max": "200000 100000"}, 2),
    ],
)
def test_smallest_quota_of_the_groups_holds(
    tmp_path: Path, membership: str, files: dict[str, str], quota: float | None
) -> None:
    write_files(tmp_path / "groups", files)
    (tmp_path / "membership").write_text(membership)
    assert cpu_quota(tmp_path / "groups", tmp_path / "membership") == quota


def test_a_share_of_a_core_is_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "cpu_quota", lambda: 0.2)
    assert available_threads() == 1


def test_a_control_group_may_have_any_name(tmp_path: Path) -> None:
    group = os.fsdecode(b"caf\xe9")
    write_files(tmp_path / group, {"cpu.max": "150000 100000\n"})
    (tmp_path / "membership").write_bytes(b"0::/caf\xe9\n")
    assert cpu_quota(tmp_path, tmp_path / "membership") == 1.5
