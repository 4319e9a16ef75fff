from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

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


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What stands in for NVIDIA's driver: a GPU of which 3 GB are taken, and 7 J were spent."""

    class NVMLError(Exception):
        pass

    fake = SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetTotalEnergyConsumption=lambda gpu: 7000,
        nvmlDeviceGetMemoryInfo=lambda gpu: SimpleNamespace(used=3_000_000_000),
        nvmlDeviceGetName=lambda gpu: "NVIDIA A10",
    )
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    return fake


def test_a_gpu_is_asked_by_nvml(driver: SimpleNamespace) -> None:
    assert read_counters("cuda") == (EnergyReading(7.0, float("inf")),)
    assert joules_between((EnergyReading(7.0, float("inf")),), (EnergyReading(9.5, float("inf")),)) == 2.5
    assert nvml.used_megabytes() == 3000
    assert nvml.gpu_name() == "NVIDIA A10"


def test_a_driver_that_does_not_tell_is_no_error(driver: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise driver.NVMLError("not supported")

    monkeypatch.setattr(driver, "nvmlDeviceGetTotalEnergyConsumption", refuse)
    assert read_counters("cuda") == ()
    monkeypatch.setattr(driver, "nvmlInit", refuse)
    assert nvml.gpu_name() is None
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert nvml.used_megabytes() is None
