from __future__ import annotations

from dataclasses import replace

import pytest

from vgg_bench.analysis.ranking import NOISE, candidates, describe_vs_baseline, equally_fast, preferred, rank_results
from vgg_bench.results import BenchmarkCase, Estimate, Latency, Quality, Results, Row
from vgg_bench.timing.memory import Memory


def row(
    variant: str,
    milliseconds: float,
    megabytes: float,
    *,
    agreement: float | None = 1.0,
    backend: str = "onnxruntime",
    batch_size: int = 1,
    threads: int = 2,
    spread: float = 0.001,
) -> Row:
    """A row whose baseline takes 100 ms."""
    p50 = Estimate(milliseconds, milliseconds * (1 - spread), milliseconds * (1 + spread))
    latency = Latency(p50, p50, p50, p50, p50, p50)
    ratio = Estimate(p50.value / 100, p50.low / 100, p50.high / 100)
    subject = BenchmarkCase(variant, backend, batch_size, threads)
    return Row(subject, round(megabytes * 1e6), latency=latency, ratio=ratio, quality=Quality(agreement))


@pytest.fixture
def judged(make_results):
    """Verdicts by variant on rows beside a baseline of 100 ms and 100 MB."""

    def labels(*rows: Row) -> dict[str, str]:
        results = replace(make_results(subjects=()), rows=(row("onnx-fp32", 100, 100), *rows))
        return {subject.variant: verdict.label for subject, verdict in rank_results(results).items()}

    return labels


def test_a_vgg16_as_it_was_measured(make_results) -> None:
    verdicts = rank_results(make_results())
    assert {f"{s.variant} {s.backend}": verdict.label for s, verdict in verdicts.items()} == {
        "onnx-int8-static onnxruntime": "recommended",
        "onnx-int8-static openvino": "on the front",
        "onnx-int4-weights onnxruntime": "on the front",  # smallest and fastest, and agrees too seldom
        "onnx-int8-weights onnxruntime": "on the front",
        "onnx-fp16 onnxruntime": "on the front",  # as fast as fp32, half the size, and never differs
        "onnx-int8-dynamic onnxruntime": "dominated",
        "onnx-int8-naive onnxruntime": "not worthwhile",
        "onnx-fp32 onnxruntime": "dominated",
        "onnx-fp32 openvino": "dominated",
        "torchscript-fp32 torchscript": "dominated",
        "eager pytorch": "dominated",
    }
    why = {f"{s.variant} {s.backend}": verdict.why for s, verdict in verdicts.items()}
    assert why["onnx-fp32 onnxruntime"] == "the baseline"
    assert why["onnx-fp16 onnxruntime"] == "50% of the size of onnx-fp32, as fast here"
    assert why["onnx-int8-static onnxruntime"] == "25% of the size of onnx-fp32, 3.7 times faster here"
    assert why["onnx-int8-naive onnxruntime"] == "25% of the size of onnx-fp32, but 3.5 times slower here"


def test_failed_rows_are_out(make_results) -> None:
    results = make_results(failures={("onnx-int8-static", "onnxruntime-cuda"): "no device"})
    assert len(rank_results(results)) == len(results.rows) - 1


def test_of_equally_fast_ones_the_smallest_is_recommended(judged) -> None:
    verdicts = judged(row("onnx-int8-static", 50, 25), row("onnx-int8-dynamic", 49, 30))
    assert verdicts["onnx-int8-static"] == "recommended"
    # Faster by less than a reason to prefer it, and larger.
    assert verdicts["onnx-int8-dynamic"] == "dominated"


def test_memory_decides_between_equal_variants() -> None:
    faster = replace(row("onnx-fp16", 49, 25, backend="openvino"), memory=Memory(1200, 1200, 1100))
    leaner = replace(row("onnx-fp16", 50, 25), memory=Memory(700, 700, 600))
    assert preferred([faster, leaner]) is leaner
    assert preferred([faster, replace(leaner, memory=None)]) is faster


@pytest.mark.parametrize(
    ("agreement", "best"), [(0.979, "onnx-fp32"), (0.98, "onnx-int8-static"), (None, "onnx-int8-static")]
)
def test_who_answers_differently_too_often_is_not_recommended(judged, agreement: float | None, best: str) -> None:
    verdicts = judged(row("onnx-int8-static", 50, 25, agreement=agreement))
    assert [variant for variant, label in verdicts.items() if label == "recommended"] == [best]


@pytest.mark.parametrize(
    "rival",
    [
        row("torchscript-fp32", 1, 1, backend="torchscript"),
        row("eager", 1, 1, backend="pytorch"),
        row("a-file", 1, 1),
        row("onnx-int8-static", 1, 1, backend="onnxruntime-cuda-graph"),
        row("onnx-int8-static", 1, 1, batch_size=2),
    ],
    ids=["TorchScript", "PyTorch", "a lone file", "a CUDA graph", "another batch size"],
)
def test_rows_the_runtime_cannot_run_are_not_recommended(judged, rival: Row) -> None:
    assert judged(rival)["onnx-fp32"] == "recommended"


def test_a_baseline_is_recommended_for_being_the_best(make_results) -> None:
    for rival, why in (
        ("torchscript-fp32", "the baseline; no other variant is better here"),
        ("onnx-fp16", "the baseline"),
    ):
        rows = (row("onnx-fp32", 100, 100), row(rival, 50, 50))
        verdicts = rank_results(replace(make_results(subjects=()), rows=rows))
        assert verdicts[rows[0].subject].why == why


def test_dominated_row_is_beaten_at_the_same_setting(make_results) -> None:
    rows = [
        row("onnx-fp32", 100, 100),
        row("onnx-int8-static", 50, 25),
        row("onnx-int8-weights", 60, 25.1, agreement=0.999),
        row("onnx-int8-static", 20, 25, threads=4),
    ]
    verdicts = rank_results(replace(make_results(subjects=()), rows=tuple(rows)))
    beaten_by = {verdict: verdicts[each.subject].beaten_by for verdict, each in enumerate(rows)}
    assert beaten_by == {0: rows[1].subject, 1: None, 2: rows[1].subject, 3: None}


def test_more_agreement_is_a_reason_of_its_own(judged) -> None:
    verdicts = judged(
        row("onnx-int8-static", 50, 25, agreement=0.99), row("onnx-int8-weights", 50, 25, agreement=0.999)
    )
    assert verdicts["onnx-int8-static"] == "recommended"
    assert verdicts["onnx-int8-weights"] == "on the front"
    assert judged(row("onnx-fp16", 50, 25, agreement=0.999))["onnx-fp32"] == "on the front"


def test_agreement_that_was_not_measured_dominates_nothing(make_results) -> None:
    known = row("onnx-fp32", 100, 100, agreement=0.995)
    unknown = row("onnx-fp32", 50, 100, agreement=None, backend="onnxruntime-cuda-tf32")
    verdicts = rank_results(replace(make_results(subjects=()), rows=(known, unknown)))
    assert verdicts[known.subject].beaten_by is None
    slower = replace(row("onnx-fp32", 150, 100, agreement=None, backend="onnxruntime-cuda-tf32"))
    verdicts = rank_results(replace(make_results(subjects=()), rows=(known, slower)))
    assert verdicts[slower.subject].beaten_by == known.subject


def test_not_worthwhile_is_slower_beyond_noise(judged) -> None:
    assert judged(row("onnx-int8-static", 104, 25))["onnx-int8-static"] == "recommended"
    assert judged(row("onnx-int8-static", 107, 25))["onnx-int8-static"] == "not worthwhile"
    assert judged(row("onnx-int8-static", 107, 25, spread=0.1))["onnx-int8-static"] == "recommended"
    assert judged(row("torchscript-fp32", 140, 100, backend="torchscript"))["torchscript-fp32"] == "dominated"


def test_one_not_worthwhile_is_not_on_the_front(make_results) -> None:
    small = row("onnx-int8-static", 300, 1)
    verdict = rank_results(replace(make_results(subjects=()), rows=(row("onnx-fp32", 100, 100), small)))[small.subject]
    assert verdict.beaten_by is None
    assert verdict.label == "not worthwhile"
    assert not verdict.on_front


def test_equally_fast_is_overlapping_or_within_noise() -> None:
    slow = row("onnx-fp32", 100, 1)
    assert equally_fast(row("a", 100 / (1 + NOISE) + 0.01, 1), slow)
    assert not equally_fast(row("a", 94, 1), slow)
    assert equally_fast(row("a", 80, 1, spread=0.3), slow)


def test_nothing_is_preferred_of_nothing() -> None:
    assert preferred([]) is None


def test_without_a_measured_baseline_nothing_is_said_of_it(make_results) -> None:
    results: Results = make_results(subjects=(("onnx-int8-static", "onnxruntime"),))
    (verdict,) = rank_results(results).values()
    assert verdict.rank == "recommended"
    assert verdict.why == "the baseline was not measured at this setting"


def test_candidates_have_the_smallest_batch_size(make_results) -> None:
    results = make_results(settings=((4, 2), (8, 2), (4, 1)))
    assert {(r.subject.batch_size, r.subject.threads) for r in candidates(results)} == {(4, 1), (4, 2)}


@pytest.mark.parametrize(
    ("ratio", "words"),
    [
        (Estimate(1.2, 1.1, 1.3), ", but 1.2 times slower here"),
        (Estimate(0.5, 0.4, 0.6), ", 2.0 times faster here"),
        (Estimate(1.02, 1.01, 1.03), ", as fast here"),
        (Estimate(0.99, 0.42, 6.1), "; which is faster cannot be told here"),
        (Estimate(1.2, 0.96, 3.27), "; which is faster cannot be told here"),
        (Estimate(1 / 2.6, 0.20, 2.11), "; which is faster cannot be told here"),
        (Estimate(2.0, None, None), "; too little was measured to compare the speed"),
    ],
)
def test_faster_and_slower_are_said_of_intervals(ratio: Estimate, words: str) -> None:
    assert describe_vs_baseline("onnx-fp32", size=0.5, latency=ratio) == f"50% of the size of onnx-fp32{words}"


@pytest.mark.parametrize(("size", "share"), [(0.25, "25%"), (0.014, "1%"), (0.0032, "0.3%")])
def test_share_of_the_size_is_never_nothing(size: float, share: str) -> None:
    words = describe_vs_baseline("onnx-fp32", size=size, latency=Estimate(0.5, 0.4, 0.6))
    assert words == f"{share} of the size of onnx-fp32, 2.0 times faster here"


def test_an_interval_that_holds_1_keeps_a_row_worthwhile(judged) -> None:
    slow = row("onnx-int8-static", 200, 25)
    assert judged(slow)["onnx-int8-static"] == "not worthwhile"
    for ratio in (Estimate(2.0, 0.96, 3.27), Estimate(2.0, None, None)):
        assert judged(replace(slow, ratio=ratio))["onnx-int8-static"] != "not worthwhile"
