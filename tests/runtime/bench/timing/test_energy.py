from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from vgg_bench.timing import nvml
from vgg_bench.timing.energy import EnergyReading, joules_between, read_counters


@pytest.fixture
def powercap(tmp_path: Path) -> Path:
    """Two packages of 10 J each before the counter wraps, and a part of the first, as Linux shows them."""
    for zone, joules in (("intel-rapl:0", 4), ("intel-rapl:0:0", 3), ("intel-rapl:1", 9), ("intel-rapl", 0)):
        (tmp_path / zone).mkdir()
        (tmp_path / zone / "energy_uj").write_text(f"{joules * 10**6}\n")
        (tmp_path / zone / "max_energy_range_uj").write_text("10000000\n")
    return tmp_path


def test_packages_are_counted_once_and_wrap(powercap: Path) -> None:
    before = read_counters("cpu", powercap=powercap)
    assert before == (EnergyReading(4, 10), EnergyReading(9, 10))
    (powercap / "intel-rapl:0" / "energy_uj").write_text("4500000\n")
    (powercap / "intel-rapl:1" / "energy_uj").write_text("1000000\n")
    assert joules_between(before, read_counters("cpu", powercap=powercap)) == pytest.approx(0.5 + 2)


def test_where_nothing_can_be_read_nothing_is_told(powercap: Path, tmp_path: Path) -> None:
    assert read_counters("cpu", powercap=tmp_path / "nowhere") == ()
    (powercap / "intel-rapl:1" / "energy_uj").unlink()
    assert read_counters("cpu", powercap=powercap) == ()
    assert joules_between((), ()) is None


SECOND = UUID("12345678-9abc-def0-1234-56789abcdef0")


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What stands in for NVIDIA's driver: a GPU of which 3 GB are taken, and 7 J were spent."""

    class NVMLError(Exception):
        pass

    def handle(uuid: str) -> str:
        if uuid != f"GPU-{SECOND}":
            raise NVMLError("not found")
        return uuid

    fake = SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=handle,
        nvmlDeviceGetTotalEnergyConsumption=lambda gpu: 7000,
        nvmlDeviceGetMemoryInfo=lambda gpu: SimpleNamespace(used=3e9, free=9e9, total=12e9),
        nvmlDeviceGetUtilizationRates=lambda gpu: SimpleNamespace(gpu=93),
        nvmlDeviceGetName=lambda gpu: "NVIDIA A10" if gpu == f"GPU-{SECOND}" else "MIG 1g.10gb",
    )
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.setattr(nvml, "_first_device", lambda: SECOND)
    return fake


def test_a_gpu_is_asked_by_nvml(driver: SimpleNamespace) -> None:
    assert read_counters("cuda") == (EnergyReading(7.0, float("inf")),)
    assert joules_between((EnergyReading(7.0, float("inf")),), (EnergyReading(9.5, float("inf")),)) == 2.5
    assert nvml.used_megabytes() == 3000
    assert nvml.free_share() == 0.75
    assert nvml.utilization() == 0.93
    assert nvml.gpu_name() == "NVIDIA A10"


def test_a_part_of_a_gpu_is_known_by_its_own_name(driver: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = driver.nvmlDeviceGetHandleByUUID
    monkeypatch.setattr(
        driver, "nvmlDeviceGetHandleByUUID", lambda uuid: uuid if uuid.startswith("MIG-") else gpus(f"{uuid}?")
    )
    assert nvml.gpu_name() == "MIG 1g.10gb"


def test_the_gpu_is_the_first_that_cuda_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library of the driver: what it returns is 0, or the number of an error."""

    def get_uuid(uuid: Any, device: Any) -> int:
        assert device.value == 5
        uuid[:] = SECOND.bytes
        return 0

    def get_device(device: Any, ordinal: int) -> int:
        assert ordinal == 0
        device._obj.value = 5
        return 0

    library = SimpleNamespace(cuInit=lambda flags: 0, cuDeviceGet=get_device, cuDeviceGetUuid_v2=get_uuid)
    monkeypatch.setattr(nvml.ctypes, "CDLL", lambda name: library)
    first_device = nvml._first_device.__wrapped__  # type: ignore[attr-defined]
    assert first_device() == SECOND
    library.cuInit = lambda flags: 100  # no CUDA-capable device is detected
    assert first_device() is None
    del library.cuDeviceGetUuid_v2  # which old drivers lack
    assert first_device() is None


def test_a_driver_that_does_not_tell_is_no_error(driver: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise driver.NVMLError("not supported")

    monkeypatch.setattr(driver, "nvmlDeviceGetTotalEnergyConsumption", refuse)
    assert read_counters("cuda") == ()
    monkeypatch.setattr(driver, "nvmlInit", refuse)
    assert nvml.gpu_name() is None
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert nvml.used_megabytes() is None
