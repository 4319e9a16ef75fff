from __future__ import annotations

import json

import pytest

from vgg_export.verdict import judge, measured
from vgg_runtime.benchmark.rounds import Timings
from vgg_runtime.manifest import Architecture, Input, Manifest, Output, Source, Variant
from vgg_runtime.preprocessing import Preprocessing

SIZES = {"onnx-fp32": 1000, "onnx-int8-static": 250, "onnx-int8-dynamic": 300, "torchscript-fp32": 1001}


def manifest_of(*names: str) -> Manifest:
    variants = []
    for name in names:
        kind, _, precision = name.partition("-")
        variants.append(Variant(name, kind, precision, f"{name}/m", SIZES[name], {f"{name}/m": "0"}))
    return Manifest(
        Architecture("a", "a network", "named"),
        Source("state dict", "trained"),
        Input((1, 3, 2, 2)),
        Output("logits", 2),
        Preprocessing(),
        None,
        tuple(variants),
    )


def judged(**milliseconds: float):
    """Verdicts on variants, by name with "_" for "-", that took so long in each of three rounds."""
    times = {name.replace("_", "-"): [[ms / 1e3] * 2] * 3 for name, ms in milliseconds.items()}
    return judge(manifest_of(*times), Timings(times))


def test_the_fastest_is_recommended_the_slower_than_fp32_is_pointless() -> None:
    found = judged(onnx_fp32=10, onnx_int8_static=5, onnx_int8_dynamic=34)
    assert {name: verdict.rank for name, verdict in found.items()} == {
        "onnx-fp32": "acceptable",
        "onnx-int8-static": "recommended",
        "onnx-int8-dynamic": "not worthwhile",
    }
    assert found["onnx-fp32"].why == "the baseline"
    assert found["onnx-int8-static"].why == "25% of the size of onnx-fp32, 2.0 times faster here"
    assert found["onnx-int8-dynamic"].why == "30% of the size of onnx-fp32, but 3.4 times slower here"
    assert found["onnx-int8-static"].latency_ms == pytest.approx(5)
    assert found["onnx-int8-dynamic"].ratio == pytest.approx(3.4)


def test_of_equally_fast_ones_the_smallest_is_recommended() -> None:
    found = judged(onnx_fp32=10, onnx_int8_static=10.4, onnx_int8_dynamic=10.1)
    assert found["onnx-int8-static"].rank == "recommended"
    assert found["onnx-int8-dynamic"].rank == found["onnx-fp32"].rank == "acceptable"
    assert found["onnx-int8-dynamic"].why == "30% of the size of onnx-fp32, as fast here"


def test_fp32_is_recommended_where_nothing_is_as_fast() -> None:
    found = judged(onnx_fp32=10, onnx_int8_static=10.6, onnx_int8_dynamic=20)
    assert found["onnx-fp32"].rank == "recommended"
    assert found["onnx-int8-static"].rank == found["onnx-int8-dynamic"].rank == "not worthwhile"


def test_torchscript_is_never_recommended_and_no_baseline_is_pointless() -> None:
    found = judged(onnx_fp32=10, torchscript_fp32=1)
    assert {name: verdict.rank for name, verdict in found.items()} == {
        "onnx-fp32": "recommended",
        "torchscript-fp32": "acceptable",
    }
    assert found["torchscript-fp32"].ratio == 1
    assert judged(torchscript_fp32=1)["torchscript-fp32"].rank == "acceptable"


def test_a_ratio_is_taken_within_each_round() -> None:
    """A machine that becomes ten times slower meanwhile changes no ratio."""
    times = {"onnx-fp32": [[0.01], [0.1], [0.1]], "onnx-int8-static": [[0.006], [0.05], [0.04]]}
    found = judge(manifest_of(*times), Timings(times))["onnx-int8-static"]
    assert (found.ratio, found.low, found.high) == pytest.approx((0.5, 0.4, 0.6))


def test_measured_json_tells_the_machine_and_every_variant() -> None:
    found = json.loads(measured(judged(onnx_fp32=10, onnx_int8_static=5)))
    assert found["machine"].keys() == {"processor", "system", "cpus"}
    assert found["machine"]["cpus"] >= 1
    assert found["variants"]["onnx-int8-static"]["rank"] == "recommended"
    assert found["variants"]["onnx-int8-static"]["latency_ms"] == pytest.approx(5)
