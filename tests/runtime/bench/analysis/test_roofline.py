from __future__ import annotations

import pytest

from vgg_bench.analysis.roofline import roofline
from vgg_bench.measurement.peaks import Peaks, measure_peaks
from vgg_bench.results import Roofline
from vgg_runtime.bundle.manifest import Architecture


def test_the_limit_is_the_greater_of_arithmetic_and_memory(make_manifest) -> None:
    manifest = make_manifest(architecture=Architecture("net", "", "user code", macs=2 * 10**9, activations=10**7))
    peaks = Peaks(gmac_per_s=100, gigabytes_per_s=10)
    limits = roofline(manifest, 120_000_000, 1, peaks, p50_ms=80)
    assert limits == Roofline(
        gmac=2, gigabytes=pytest.approx(0.2), limit_ms=pytest.approx(20), share=pytest.approx(0.25)
    )
    batch = roofline(manifest, 120_000_000, 4, peaks, p50_ms=160)
    assert batch == Roofline(8, pytest.approx(0.12 + 0.32), pytest.approx(80), pytest.approx(0.5))


def test_without_a_count_there_is_none(make_manifest) -> None:
    assert roofline(make_manifest(), 1, 1, Peaks(1, 1), 1) is None


def test_the_peaks_of_this_machine_are_plausible() -> None:
    """Some ten GMAC per second and core are as slow as a CPU gets that has vectors, a few hundred as fast."""
    limits = measure_peaks(1)
    assert limits is not None
    assert 1 < limits.gmac_per_s < 2000
    assert 0.5 < limits.gigabytes_per_s < 2000


def test_a_machine_that_cannot_measure_its_peaks_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vgg_bench.measurement.peaks.MODULE", "vgg_bench.measurement.no_such_module")
    assert measure_peaks(1) is None
