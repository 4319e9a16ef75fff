"""Which variant to take on this machine: sizes and measured latencies, ranked."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vgg_runtime.benchmark.rounds import Ratio, Timings, bundle_subject, measure
from vgg_runtime.benchmark.verdict import LEAST_AGREEMENT, NOISE, Rank, versus
from vgg_runtime.bundle import MEASURED, Bundle
from vgg_runtime.json_dataclass import from_json, to_json
from vgg_runtime.manifest import Manifest, Variant
from vgg_runtime.processor import processor_name
from vgg_runtime.threads import available_cpus

__all__ = ["Verdict", "judge", "measured", "read_verdicts", "time_variants"]

ROUNDS, SECONDS = 5, 0.3


@dataclass(frozen=True)
class Verdict:
    """What a variant is worth on the machine that exported it.

    Attributes:
        latency_ms: median latency of one image in milliseconds.
        ratio, low, high: latency relative to fp32 of the same format: median, least and greatest of the rounds.
        rank: "recommended" for one variant of the bundle.
        why: in words.
    """

    latency_ms: float
    ratio: float
    low: float
    high: float
    rank: Rank
    why: str


def time_variants(bundle: Path, manifest: Manifest) -> Timings:
    """Time every variant of ``bundle`` on the CPU at batch 1: one process each, in turns."""
    subjects = {variant.name: bundle_subject(bundle, variant.name) for variant in manifest.variants}
    return measure(subjects, rounds=ROUNDS, seconds=SECONDS)


def judge(manifest: Manifest, timings: Timings) -> dict[str, Verdict]:
    """Rank the variants of ``manifest``, by name.

    Recommended is, of the variants that the runtime runs without PyTorch and that answer as eager PyTorch does, the
    fastest; of equally fast ones the smallest. Pointless is one that is slower than fp32, however small.
    """
    ratios = {variant.name: timings.ratio(variant.name, _baseline(manifest, variant)) for variant in manifest.variants}
    best = _recommended(manifest, timings)
    return {
        variant.name: _verdict(variant, manifest, timings, ratios, best=variant.name == best)
        for variant in manifest.variants
    }


def measured(verdicts: Mapping[str, Verdict]) -> str:
    """Return ``measured.json``: the verdicts and the machine they hold for."""
    return json.dumps({"machine": _machine(), "variants": to_json(verdicts)}, indent=2) + "\n"


def read_verdicts(bundle: Bundle) -> dict[str, Verdict]:
    """Return the verdicts by variant as they were when ``bundle`` was written, none where nothing was timed."""
    file = bundle.path(MEASURED)
    if not file.exists():
        return {}
    stored = json.loads(file.read_text(encoding="utf-8"))["variants"]
    return {name: from_json(Verdict, verdict) for name, verdict in stored.items()}


def _machine() -> dict[str, str | int]:
    """Return what the latencies depend on: processor, system, and how many processors this process may use."""
    return {"processor": processor_name(), "system": platform.system(), "cpus": available_cpus()}


def _baseline(manifest: Manifest, variant: Variant) -> str:
    """The float32 variant of the same format."""
    return next(
        other.name for other in manifest.variants if other.format == variant.format and other.precision == "fp32"
    )


def _recommended(manifest: Manifest, timings: Timings) -> str | None:
    onnx = [variant for variant in manifest.variants if variant.format == "onnx" and _agrees(variant)]
    if not onnx:
        return None
    fastest = min(timings.latency(variant.name) for variant in onnx)
    equal = [variant for variant in onnx if timings.latency(variant.name) <= fastest * (1 + NOISE)]
    return min(equal, key=lambda variant: variant.bytes).name


def _agrees(variant: Variant) -> bool:
    """Whether the variant's answers are eager PyTorch's own for all but one image in fifty; unverified ones pass."""
    return variant.parity is None or variant.parity.top1_agreement >= LEAST_AGREEMENT


def _verdict(
    variant: Variant, manifest: Manifest, timings: Timings, ratios: Mapping[str, Ratio], *, best: bool
) -> Verdict:
    ratio = ratios[variant.name]
    baseline = manifest.variant(_baseline(manifest, variant))
    rank: Rank = "recommended" if best else "acceptable"
    if not best and variant is not baseline and ratio.value > 1 + NOISE:
        rank = "not worthwhile"
    return Verdict(
        latency_ms=timings.latency(variant.name) * 1e3,
        ratio=ratio.value,
        low=ratio.low,
        high=ratio.high,
        rank=rank,
        why=_why(variant, baseline, ratio),
    )


def _why(variant: Variant, baseline: Variant, ratio: Ratio) -> str:
    if variant is baseline:
        return "the baseline"
    return versus(
        baseline.name,
        size=variant.bytes / baseline.bytes,
        latency=ratio.value,
        equal=abs(ratio.value - 1) <= NOISE,
    )
