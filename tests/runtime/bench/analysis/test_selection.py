from __future__ import annotations

import ast
import shlex
from dataclasses import replace

import pytest

from vgg_bench.analysis.ranking import rank_results
from vgg_bench.analysis.selection import Constraints, best
from vgg_bench.results import Quality, Results
from vgg_run.cli import group
from vgg_runtime.errors import UsageError, VerificationError


def test_without_constraints_it_is_the_recommended_one(make_results) -> None:
    results = make_results()
    choice = best(results)
    assert rank_results(results)[choice.row.subject].rank == "recommended"
    assert choice.why == (
        "the fastest with agreement of at least 0.98 (8 of the 9 that can be deployed; 11 rows measured); "
        "equally fast and no smaller: onnx-int8-static on openvino"
    )
    assert choice.command == "vgg-run predict vgg16.bundle IMAGE --variant onnx-int8-static --device cpu --threads 2"
    assert choice.python == 'Classifier.open("vgg16.bundle", variant="onnx-int8-static", device="cpu", threads=2)'


@pytest.mark.parametrize(
    ("constraints", "variant"),
    [
        (Constraints(min_agreement=0.94), "onnx-int4-weights"),
        (Constraints(min_agreement=0.99), "onnx-int8-weights"),
        (Constraints(min_agreement=1), "onnx-fp16"),
        (Constraints(max_size_mb=300), "onnx-int8-static"),
        (Constraints(max_size_mb=300, min_agreement=1), "onnx-fp16"),
        (Constraints(max_latency_ms=140, min_agreement=0.99), "onnx-int8-weights"),
        (Constraints(max_size_mb=100, min_agreement=0), "onnx-int4-weights"),
    ],
    ids=str,
)
def test_the_fastest_that_satisfies_the_constraints(make_results, constraints: Constraints, variant: str) -> None:
    assert best(make_results(), constraints).row.subject.variant == variant


def test_what_nothing_satisfies_names_the_nearest_miss(make_results) -> None:
    with pytest.raises(VerificationError) as missed:
        best(make_results(), Constraints(max_latency_ms=30, max_size_mb=150))
    assert missed.value.exit_code == 4
    assert missed.value.message == (
        "none of the 9 rows that can be deployed has a latency of at most 30 ms, a size of at most 150 MB "
        "and agreement of at least 0.98."
    )
    # int4 is the fastest, and misses two constraints by less than a larger one misses its one.
    assert missed.value.hint == (
        "The nearest is onnx-int4-weights / onnxruntime / batch 1 / 2 threads: latency is 40.33 ms, 10.3 ms (34%) over "
        "and agreement is 0.94, 0.04 short."
    )


def test_unverified_variant_meets_no_agreement(make_results) -> None:
    results: Results = make_results()
    unknown = replace(results, rows=tuple(replace(row, quality=Quality()) for row in results.rows))
    assert best(unknown).row.subject.variant == "onnx-int4-weights"
    with pytest.raises(VerificationError, match="agreement is unknown, as it was not verified"):
        best(unknown, Constraints(min_agreement=0.5))


def test_nothing_that_runs_without_pytorch(make_results) -> None:
    with pytest.raises(VerificationError, match="nothing that can be deployed was measured"):
        best(make_results(subjects=(("eager", "pytorch"),)))


@pytest.mark.parametrize(
    ("backend", "device", "engine"),
    [("onnxruntime", "cpu", None), ("onnxruntime-cuda", "cuda", None), ("openvino", "cpu", "openvino")],
)
def test_the_lines_ask_for_what_was_measured(make_results, backend: str, device: str, engine: str | None) -> None:
    results = make_results(subjects=(("onnx-int8-static", "onnxruntime"),), settings=((4, 3),))
    (row,) = results.rows
    results = replace(results, rows=(replace(row, subject=replace(row.subject, backend=backend)),))
    choice = best(results, bundle="my 'own' bundle")

    words = shlex.split(choice.command)
    assert words[:2] == ["vgg-run", "predict"]
    asked = group.commands["predict"].make_context("predict", words[2:]).params
    assert str(asked["bundle"]) == "my 'own' bundle"
    assert (asked["device"], asked["backend"]) == (device, engine)
    assert (asked["variant"], asked["threads"], asked["batch_size"]) == ("onnx-int8-static", 3, 4)

    call = ast.parse(choice.python, mode="eval").body
    assert isinstance(call, ast.Call)
    assert [ast.literal_eval(argument) for argument in call.args] == ["my 'own' bundle"]
    expected = {"variant": "onnx-int8-static", "device": device, "backend": engine, "threads": 3}
    options = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
    assert options == {name: value for name, value in expected.items() if value is not None}


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"max_latency_ms": 0}, "`max_latency_ms` must be above 0, got 0"),
        ({"max_latency_ms": float("nan")}, "`max_latency_ms` must be above 0, got nan"),
        ({"max_size_mb": -1}, "`max_size_mb` must be above 0, got -1"),
        ({"min_agreement": 1.5}, r"`min_agreement` must be a share from 0 to 1, got 1\.5"),
    ],
)
def test_limits_out_of_range_are_refused(limits: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Constraints(**limits)
