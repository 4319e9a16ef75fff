"""The recommended variant on this machine, by a short run of the measurement and ranking of ``vgg-bench``."""

from __future__ import annotations

from itertools import count
from pathlib import Path

from vgg_bench.analysis.ranking import Assessment, rank_results
from vgg_bench.cases import BenchmarkRequest, choose
from vgg_bench.results import Results
from vgg_bench.runner import run, steps
from vgg_bench.timing.rounds import Schedule
from vgg_export.progress import OnStep, ignore_steps
from vgg_runtime.bundle.directory import MEASURED, Bundle, open_bundle
from vgg_runtime.bundle.manifest import Manifest
from vgg_runtime.errors import VggDeployError

__all__ = ["SCHEDULE", "read_results", "time_variants", "verdicts_by_variant"]

# As many rounds as a bootstrap interval needs, each of them short.
SCHEDULE = Schedule(rounds=6, seconds=0.05, min_calls=2, max_calls=50)

# The backend that each format is timed on, which is the default.
BACKENDS = {"onnx": "onnxruntime", "torchscript": "torchscript"}


def time_variants(bundle: Path, manifest: Manifest, on_step: OnStep = ignore_steps) -> Results:
    """Time every variant of ``bundle`` on the CPU, one process each, in turns: one image, or the fixed batch size.

    Raises:
        VggDeployError: a measuring process fails; the message has its reason.
        KeyboardInterrupt: the user ended it.
    """
    backends = list(dict.fromkeys(BACKENDS[variant.format] for variant in manifest.variants))
    candidates, _ = choose(open_bundle(bundle), BenchmarkRequest(backends=backends))
    total, done = steps(candidates, SCHEDULE, None), count(1)

    def tell(name: str, parts: int) -> None:
        for _ in range(parts):
            on_step("timing the variants in turns", next(done), total)

    results = run(open_bundle(bundle), candidates, schedule=SCHEDULE, with_roofline=False, on_step=tell)
    if not results.method.finished:
        raise KeyboardInterrupt
    for row in results.rows:
        if row.failure is not None:
            raise VggDeployError(f"the process that measures {row.subject.variant} failed: {row.failure}")
    return results


def verdicts_by_variant(results: Results) -> dict[str, Assessment]:
    """Rank the variants as ``vgg-bench`` does, by name."""
    return {subject.variant: verdict for subject, verdict in rank_results(results).items()}


def read_results(bundle: Bundle) -> Results | None:
    """Return the measurements from when ``bundle`` was written, None if there are none.

    Raises:
        UsageError: they are from a release with another schema.
    """
    file = bundle.path(MEASURED)
    return Results.parse(file.read_bytes(), source=str(file)) if file.exists() else None
