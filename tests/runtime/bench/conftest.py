"""Results of a run that could have been: a VGG-16 on two CPU cores, its samples drawn from a seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from vgg_bench.results import BenchmarkCase, Estimate, Latency, Machine, Method, Quality, Results, Roofline, Row
from vgg_bench.timing.memory import Memory

MakeResults = Callable[..., Results]
ROUNDS, CALLS = 6, 40

# variant, backend: (median latency in ms, MB, peak and private MB, cold start in s, agreement, dB)
VGG16: dict[tuple[str, str], tuple[float, float, float, float, float, float, float | None]] = {
    ("onnx-fp32", "onnxruntime"): (150, 553.4, 954, 398, 0.8, 1.0, 117.7),
    ("onnx-fp32", "openvino"): (158, 553.4, 1230, 690, 1.4, 1.0, 101.2),
    ("onnx-fp16", "onnxruntime"): (151, 276.7, 1102, 560, 1.1, 1.0, 62.4),
    ("onnx-int8-dynamic", "onnxruntime"): (145, 182.5, 610, 301, 0.7, 0.99, 38.1),
    ("onnx-int8-static", "onnxruntime"): (41, 138.4, 386, 176, 0.66, 0.985, 29.9),
    ("onnx-int8-static", "openvino"): (41.3, 138.4, 512, 240, 1.2, 0.985, 29.8),
    ("onnx-int8-weights", "onnxruntime"): (136, 154.0, 590, 280, 0.7, 0.99, 40.2),
    ("onnx-int4-weights", "onnxruntime"): (39.8, 78.5, 301, 160, 0.6, 0.94, 18.9),
    ("onnx-int8-naive", "onnxruntime"): (525, 138.4, 420, 200, 0.8, 0.98, 30.0),
    ("torchscript-fp32", "torchscript"): (203, 553.5, 1360, 1150, 3.7, 1.0, 117.0),
    ("eager", "pytorch"): (204, 553.4, 1380, 1160, 3.9, 1.0, None),
}


def estimate(value: float, spread: float) -> Estimate:
    return Estimate(value, value * (1 - spread), value * (1 + spread))


def latency_of(rounds: tuple[tuple[float, ...], ...], batch_size: int) -> Latency:
    """Statistics of ``rounds``; the intervals are as wide as rounds differ."""
    samples = np.concatenate([np.array(one) for one in rounds]) * 1e3
    spread = max(float(np.std([np.median(one) for one in rounds]) / np.median(samples)), 1e-3)
    p50, p90, p99 = (estimate(float(np.percentile(samples, q)), spread) for q in (50, 90, 99))
    mean = float(samples.mean())
    return Latency(
        p50,
        p90,
        p99,
        estimate(float(samples.min()), spread),
        estimate(mean, spread),
        estimate(1e3 * batch_size / mean, spread),
    )


def made_up_row(
    generator: np.random.Generator, variant: str, backend: str, batch_size: int, threads: int, noise: float
) -> Row:
    milliseconds, megabytes, peak, private, start, agreement, snr_db = VGG16[variant, backend]
    scale = milliseconds / 1e3 * batch_size**0.9 * (2 / threads) ** 0.9
    drift = 1 + noise / 2 * generator.standard_normal(ROUNDS)
    tail = 1 + generator.gamma(1.5, noise, (ROUNDS, CALLS))
    rounds = tuple(tuple(float(x) for x in one) for one in scale * drift[:, None] * tail)
    latency = latency_of(rounds, batch_size)
    return Row(
        BenchmarkCase(variant, backend, batch_size, threads),
        round(megabytes * 1e6),
        rounds,
        latency,
        cold_start_s=estimate(start * (1 + noise * generator.standard_normal()), 4 * noise),
        load_s=estimate(start * 0.6, 0.04),
        memory=Memory(peak, peak * 0.9, private),
        quality=Quality(agreement, snr_db, Estimate(0.712 * agreement, 0.68 * agreement, 0.74 * agreement), 800),
        roofline=Roofline(15.47 * batch_size, 0.62, 24.0 * batch_size, 24.0 * batch_size / latency.p50.value),
        energy_j=None,
    )


def with_ratios(rows: list[Row], baseline: tuple[str, str]) -> tuple[Row, ...]:
    """The rows with their ratio to the baseline at the same setting, round by round."""
    medians = {row.subject: np.array([np.median(one) for one in row.rounds]) for row in rows}
    results = []
    for row in rows:
        base = replace(row.subject, variant=baseline[0], backend=baseline[1])
        ratios = medians[row.subject] / medians[base] if base in medians else None
        ratio = None if ratios is None else Estimate(*map(float, (np.median(ratios), ratios.min(), ratios.max())))
        results.append(replace(row, ratio=ratio))
    return tuple(results)


@pytest.fixture
def make_results() -> MakeResults:
    """Make results: seed, noise, the settings (batch size, threads), which of the rows, and any field of them."""

    def make(
        *,
        seed: int = 0,
        noise: float = 0.01,
        settings: tuple[tuple[int, int], ...] = ((1, 2),),
        subjects: tuple[tuple[str, str], ...] = tuple(VGG16),
        failures: dict[tuple[str, str], str] | None = None,
        **changes: object,
    ) -> Results:
        generator = np.random.default_rng(seed)
        baseline = ("onnx-fp32", "onnxruntime")
        rows = [made_up_row(generator, *subject, *setting, noise) for setting in settings for subject in subjects]
        failed = [
            Row(BenchmarkCase(*subject, 1, 2), 138_000_000, failure=why) for subject, why in (failures or {}).items()
        ]
        results = Results(
            bundle="vgg16.bundle",
            architecture="vgg16",
            source="0" * 64,
            baseline=baseline,
            rows=(*with_ratios(rows, baseline), *failed),
            machine=Machine("AMD EPYC 9B14", "Linux 6.1", 2, 8.3, None, {"2": 130.0}, {"2": 21.0}, noise),
            method=Method("One process per row, in interleaved rounds.", ROUNDS, 1.0, 10, 3),
            absent={"onnxruntime-cuda": "no NVIDIA GPU was found"},
            versions={"vgg-deploy": "0.1.0", "onnxruntime": "1.31.1", "numpy": "2.4.6"},
        )
        return replace(results, **changes)

    return make
