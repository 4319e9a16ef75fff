from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from vgg_bench import runner as module
from vgg_bench.analysis.accuracy import LabelledImages
from vgg_bench.cases import BenchmarkRequest, CaseCommand, choose
from vgg_bench.measurement.peaks import Peaks
from vgg_bench.results import Estimate, Results
from vgg_bench.runner import run, steps
from vgg_bench.timing.rounds import Schedule
from vgg_runtime.bundle.directory import Bundle, open_bundle
from vgg_runtime.bundle.manifest import Architecture

TINY = Schedule(rounds=2, seconds=0, min_calls=2, max_calls=2, starts=1)


@pytest.fixture(autouse=True)
def known_peaks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measuring them takes longer than all the rest, and has a test of its own."""
    monkeypatch.setattr(module, "measure_peaks", lambda threads: Peaks(100.0, 10.0))


@pytest.fixture
def opened(make_bundle) -> Bundle:
    costs = Architecture("colours", "means of the planes", "user code", macs=9, activations=150)
    return open_bundle(make_bundle(weights={"onnx-fp32": 10.0, "onnx-int8-static": -10.0}, architecture=costs))


@pytest.fixture
def candidates(opened: Bundle) -> list[CaseCommand]:
    return choose(opened, BenchmarkRequest(backends=["onnxruntime"], threads=[1]))[0]


@pytest.fixture
def broken(candidates: list[CaseCommand]) -> CaseCommand:
    command = tuple("onnx-fp64" if word == "onnx-int8-static" else word for word in candidates[1].command)
    return replace(candidates[1], command=command)


def test_every_figure_of_a_run(opened: Bundle, candidates: list[CaseCommand]) -> None:
    done: list[int] = []
    results = run(opened, candidates, schedule=TINY, absent={"x": "y"}, on_step=lambda _, count: done.append(count))
    assert sum(done) == steps(candidates, TINY, None) == 6  # two subjects and the baseline again
    assert results.baseline == ("onnx-fp32", "onnxruntime")
    assert results.method.finished
    assert (results.bundle, results.architecture, results.absent) == ("colours.bundle", "colours", {"x": "y"})
    assert results.machine.gmac_per_s == {"1": 100.0}
    assert results.machine.noise is not None
    for row in results.rows:
        assert row.failure is None
        assert [len(latencies) for latencies in row.rounds] == [2, 2]
        assert row.latency.minimum.value == pytest.approx(1e3 * min(map(min, row.rounds)))
        assert row.cold_start_s.value > row.load_s.value > 0
        assert row.memory.peak > 10
        assert row.roofline.share == pytest.approx(row.roofline.limit_ms / row.latency.p50.value)
    assert results.rows[0].ratio == Estimate(1, 1, 1)  # the baseline is itself
    assert Results.parse(results.dump(), source="the test") == results


def test_what_fails_has_its_reason_and_the_rest_goes_on(opened: Bundle, candidates, broken: CaseCommand) -> None:
    done: list[int] = []
    results = run(opened, [candidates[0], broken], schedule=TINY, on_step=lambda _, count: done.append(count))
    good, bad = results.rows
    assert good.latency is not None
    assert (bad.latency, bad.exit_code, bad.failure) == (None, 3, "the bundle has no variant 'onnx-fp64'.")
    assert sum(done) == steps(candidates, TINY, None)
    assert results.method.finished


def test_without_its_baseline_a_run_has_no_ratios(opened: Bundle, candidates, broken: CaseCommand) -> None:
    first = replace(broken, subject=candidates[0].subject)
    results = run(opened, [first, candidates[1]], schedule=TINY)
    assert results.rows[1].latency is not None
    assert results.rows[1].ratio is results.machine.noise is None


def test_what_was_measured_before_an_interruption_is_kept(opened: Bundle, candidates: list[CaseCommand]) -> None:
    def interrupt(name: str, count: int) -> None:
        raise KeyboardInterrupt

    results = run(opened, candidates, schedule=TINY, on_step=interrupt)
    first, second = results.rows
    assert len(first.rounds) == 1
    assert first.latency is not None
    assert (second.failure, second.exit_code) == ("the run was interrupted before its first turn", 0)
    assert not results.method.finished
    assert Results.parse(results.dump(), source="the test") == results


def test_accuracy_is_measured_once_per_variant_and_backend(opened: Bundle, tmp_path: Path) -> None:
    candidates, _ = choose(opened, BenchmarkRequest(backends=["onnxruntime"], threads=[1], batch_sizes=[1, 2]))
    files = [tmp_path / f"{i}.png" for i in range(4)]
    for file, colour in zip(files, ("red", "lime", "blue", "red"), strict=True):
        Image.new("RGB", (8, 6), colour).save(file)
    samples = LabelledImages(tuple(files), (0, 1, 2, 1))
    done: list[str] = []
    results = run(opened, candidates, schedule=TINY, samples=samples, on_step=lambda name, _: done.append(name))
    assert len(done) == steps(candidates, TINY, samples)
    accuracies = {(row.subject.variant, row.subject.batch_size): row.quality.accuracy.value for row in results.rows}
    # The second variant takes the least plane for the greatest, and of two that tie the first.
    assert accuracies == {
        (name, n): share for name, share in (("onnx-fp32", 0.75), ("onnx-int8-static", 0.25)) for n in (1, 2)
    }
    assert {row.quality.images for row in results.rows} == {4}


def test_baseline_is_the_first_without_a_float32_one(opened: Bundle, candidates) -> None:
    results = run(opened, candidates[1:], schedule=TINY)
    assert results.baseline == ("onnx-int8-static", "onnxruntime")
    assert results.rows[0].ratio.value == 1


def test_the_source_is_no_path_of_this_machine(opened: Bundle, candidates, tmp_path: Path) -> None:
    assert str(tmp_path) not in run(opened, candidates[:1], schedule=TINY).dump()
