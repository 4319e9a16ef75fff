from __future__ import annotations

from dataclasses import replace

import pytest

from vgg_bench import runner as module
from vgg_export.writing.ranking import SCHEDULE, read_results, time_variants
from vgg_runtime.bundle.directory import Bundle
from vgg_runtime.errors import VggDeployError


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vgg_export.writing.ranking.SCHEDULE", replace(SCHEDULE, rounds=2, seconds=0, max_calls=2))


def test_each_format_runs_on_its_own_backend(example_bundle: Bundle) -> None:
    steps: list[tuple[str, int, int]] = []
    results = time_variants(example_bundle.directory, example_bundle.manifest, lambda *step: steps.append(step))
    backends = {row.subject.variant: row.subject.backend for row in results.rows}
    assert backends == {"onnx-fp32": "onnxruntime", "torchscript-fp32": "torchscript"}
    assert results.baseline == ("onnx-fp32", "onnxruntime")
    assert all(row.latency and row.ratio and row.roofline is None for row in results.rows)
    assert steps == [("timing the variants in turns", done, 6) for done in range(1, 7)]


def test_a_worker_that_fails_is_an_error(example_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vgg_bench.cases.WORKER", ("false",))
    with pytest.raises(VggDeployError, match="the process that measures onnx-fp32 failed"):
        time_variants(example_bundle.directory, example_bundle.manifest)


def test_an_interrupted_measurement_ends_the_export(example_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_run_rounds", interrupt)
    with pytest.raises(KeyboardInterrupt):
        time_variants(example_bundle.directory, example_bundle.manifest)


def test_what_was_not_measured_is_none(example_bundle: Bundle) -> None:
    assert read_results(example_bundle) is None
