from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from vgg_bench.analysis.comparison import Comparison, as_text, compare
from vgg_bench.results import Estimate, Results, Row

STATIC, BASELINE = ("onnx-int8-static", "onnxruntime"), ("onnx-fp32", "onnxruntime")


def changed(results: Results, change: Callable[[Row], Row], *only: tuple[str, str]) -> Results:
    """The results with ``change`` made to the rows of the variants and backends ``only``, or to all."""
    rows = [
        change(row) if not only or (row.subject.variant, row.subject.backend) in only else row for row in results.rows
    ]
    return replace(results, rows=tuple(rows))


def scaled(estimate: Estimate, factor: float) -> Estimate:
    return Estimate(estimate.value * factor, estimate.low * factor, estimate.high * factor)


def slower(factor: float) -> Callable[[Row], Row]:
    """Every call of a row takes ``factor`` times as long; the ratio to the baseline is left as it was."""

    def change(row: Row) -> Row:
        latency = replace(row.latency, p50=scaled(row.latency.p50, factor))
        return replace(row, latency=latency, rounds=tuple(tuple(factor * x for x in one) for one in row.rounds))

    return change


def slower_than_the_baseline(factor: float) -> Callable[[Row], Row]:
    return lambda row: replace(slower(factor)(row), ratio=scaled(row.ratio, factor))


def changes(comparison: Comparison) -> list[tuple[str, str, str]]:
    return [(each.subject.variant, each.quantity, each.verdict) for each in comparison.changes]


def test_planted_slowdown_of_20_percent_alone_is_reported(make_results) -> None:
    before = make_results(seed=0, noise=0.02)
    after = changed(make_results(seed=1, noise=0.02), slower_than_the_baseline(1.2), STATIC)
    comparison = compare(before, after)
    assert changes(comparison) == [("onnx-int8-static", "latency", "slower")]
    (change,) = comparison.changes
    assert change.after.value / change.before.value == pytest.approx(1.2, rel=0.05)
    assert changes(compare(after, before)) == [("onnx-int8-static", "latency", "faster")]


def test_latency_shows_slowdown_of_steady_baseline(make_results) -> None:
    after = changed(make_results(seed=1), slower(1.2), STATIC)
    assert changes(compare(make_results(), after)) == [("onnx-int8-static", "latency", "slower")]


@pytest.mark.parametrize("noise", [0.005, 0.02, 0.05])
def test_identical_runs_and_repeated_ones_show_no_change(make_results, noise: float) -> None:
    settings = ((1, 2), (1, 1), (8, 2))
    first = make_results(seed=0, noise=noise, settings=settings)
    assert compare(first, first).changes == []
    for seed in range(1, 20):
        assert changes(compare(first, make_results(seed=seed, noise=noise, settings=settings))) == []


def test_slower_machine_shows_in_the_baseline_alone(make_results) -> None:
    after = changed(make_results(seed=1), slower(1.3))
    assert changes(compare(make_results(), after)) == [("onnx-fp32", "latency", "slower")]
    worse = changed(after, slower_than_the_baseline(1.2), STATIC)
    assert changes(compare(make_results(), worse)) == [
        ("onnx-fp32", "latency", "slower"),
        ("onnx-int8-static", "latency", "slower"),
    ]


def test_on_another_machine_every_latency_counts(make_results) -> None:
    before = make_results()
    after = changed(make_results(seed=1), slower(1.3))
    comparison = compare(before, replace(after, machine=replace(after.machine, processor="Arm Cortex-A76", cpus=4)))
    assert len(comparison.changes) == len(before.rows)
    assert "Another machine, processor: AMD EPYC 9B14 -> Arm Cortex-A76." in comparison.notes
    assert "Another machine, CPUs: 2 -> 4." in comparison.notes


def test_difference_within_stated_noise_is_no_change(make_results) -> None:
    before, after = make_results(), changed(make_results(seed=1), slower_than_the_baseline(1.2), STATIC)

    def noisy(results: Results, noise: float | None) -> Results:
        return replace(results, machine=replace(results.machine, noise=noise))

    assert compare(noisy(before, 0.25), after).changes == []
    assert compare(before, noisy(after, 0.25)).changes == []
    assert compare(noisy(before, 0.15), noisy(after, 0.15)).changes != []
    assert compare(noisy(before, None), noisy(after, None)).changes != []


def test_cold_starts_are_compared_where_they_have_an_interval(make_results) -> None:
    after = changed(make_results(), lambda row: replace(row, cold_start_s=scaled(row.cold_start_s, 2)), STATIC)
    once = replace(after, method=replace(after.method, starts=1))
    assert changes(compare(make_results(), after)) == [("onnx-int8-static", "cold start", "slower to start")]
    assert compare(make_results(), once).changes == compare(once, make_results()).changes == []
    assert "Cold starts are not compared" in as_text(compare(make_results(), once))


def test_overlapping_intervals_are_no_change(make_results) -> None:
    after = changed(make_results(seed=1), slower(1.2), STATIC)

    def wide(row: Row) -> Row:
        return replace(row, latency=replace(row.latency, p50=replace(row.latency.p50, low=1.0)))

    assert compare(make_results(), changed(after, wide, STATIC)).changes == []


@pytest.mark.parametrize(
    ("change", "quantity", "verdict"),
    [
        (lambda row: replace(row, bytes=round(row.bytes * 1.02)), "size", "larger"),
        (lambda row: replace(row, cold_start_s=scaled(row.cold_start_s, 0.7)), "cold start", "faster to start"),
        (lambda row: replace(row, memory=replace(row.memory, peak=row.memory.peak * 1.3)), "peak memory", "more"),
        (
            lambda row: replace(row, quality=replace(row.quality, top1_agreement=0.98)),
            "agreement",
            "agrees less",
        ),
        (
            lambda row: replace(row, quality=replace(row.quality, accuracy=Estimate(0.5, 0.45, 0.55))),
            "accuracy",
            "less accurate",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_quantity_is_compared(make_results, change: Callable[[Row], Row], quantity: str, verdict: str) -> None:
    after = changed(make_results(), change, STATIC)
    assert changes(compare(make_results(), after)) == [("onnx-int8-static", quantity, verdict)]


def test_rows_of_one_run_alone_and_failures_are_named(make_results) -> None:
    before = make_results(subjects=(BASELINE, STATIC))
    after = make_results(subjects=(BASELINE, ("onnx-fp16", "onnxruntime")), failures={STATIC: "no memory"})
    comparison = compare(before, after, names=("old.json", "new.json"))
    assert comparison.only_before == ("onnx-int8-static / onnxruntime / batch 1 / 2 threads",)
    assert comparison.only_after == ("onnx-fp16 / onnxruntime / batch 1 / 2 threads",)
    text = as_text(comparison)
    assert "Failed in new.json: onnx-int8-static / onnxruntime / batch 1 / 2 threads: no memory" in text
    assert "Only in old.json: onnx-int8-static" in text
    assert "Only in new.json: onnx-fp16" in text
    assert "Recommended: onnx-int8-static / onnxruntime / batch 1 / 2 threads -> onnx-fp16 / onnxruntime" in text


def test_one_thread_count_per_run_does_not_split_rows(make_results) -> None:
    comparison = compare(make_results(settings=((1, 2),)), make_results(settings=((1, 8),)))
    assert len({each.subject for each in comparison.differences}) == 11
    several = compare(make_results(settings=((1, 2), (1, 1))), make_results(settings=((1, 2), (1, 4))))
    assert len(several.only_before) == len(several.only_after) == 11


def test_versions_checkpoints_and_noise_are_named(make_results) -> None:
    before = make_results()
    after = replace(
        make_results(), versions=before.versions | {"onnxruntime": "1.32.0", "openvino": "2026.4"}, source="1"
    )
    text = as_text(compare(before, after))
    assert "Version of onnxruntime: 1.31.1 -> 1.32.0." in text
    assert "Version of openvino: none -> 2026.4." in text
    assert "The checkpoint differs" in text
    assert "Noise of B: 1.0%." in text
    assert "numpy" not in text


def test_the_text_tells_a_change_with_both_intervals(make_results) -> None:
    after = changed(make_results(), slower(1.2), STATIC)
    text = as_text(compare(make_results(), after))
    name = "  onnx-int8-static / onnxruntime / batch 1 / 2 threads\n"
    figures = r"    latency 41\.\d+ \(41.4\d*-41.5\d*\) -> 49\.\d+ \(49\.\d+-49\.\d+\) ms: slower, 1\.20 times\n"
    assert re.search(re.escape(name) + figures, text)
    assert "Equal within noise: 10 x latency, 11 x cold start" in text
    assert "Nothing changed beyond noise" in as_text(compare(after, after))


def test_it_is_json(make_results) -> None:
    comparison = compare(make_results(), changed(make_results(seed=1), slower(1.2), STATIC))
    data = json.loads(comparison.dump())
    assert [each["subject"]["variant"] for each in data["differences"] if each["verdict"] == "slower"] == [STATIC[0]]


def test_a_change_from_nothing_has_no_factor(make_results) -> None:
    def never(row: Row) -> Row:
        return replace(row, quality=replace(row.quality, top1_agreement=0.0))

    before = changed(make_results(), never, STATIC)
    assert "agreement 0 -> 0.985: agrees more\n" in as_text(compare(before, make_results()))


def test_the_made_up_samples_are_what_the_figures_say(make_results) -> None:
    row = make_results().rows[0]
    assert 1e3 * np.median([x for one in row.rounds for x in one]) == pytest.approx(row.latency.p50.value)
