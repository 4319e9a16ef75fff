"""One run: every subject in turns, then the results."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from vgg_bench.aggregation import Measurements, build_row
from vgg_bench.analysis import statistics
from vgg_bench.analysis.accuracy import LabelledImages
from vgg_bench.analysis.ranking import recommended
from vgg_bench.cases import CaseCommand
from vgg_bench.measurement.machine import describe_machine, package_versions
from vgg_bench.measurement.peaks import measure_peaks
from vgg_bench.results import Method, Results
from vgg_bench.timing.process import Failure, Worker, WorkerEndedError
from vgg_bench.timing.rounds import Schedule, turns
from vgg_runtime.bundle.directory import Bundle
from vgg_runtime.bundle.manifest import Manifest

__all__ = ["QUICK", "SCHEDULE", "OnProgress", "run", "steps"]

# Many short rounds: one disturbed round of nine moves no interval; one of five would.
SCHEDULE = Schedule(rounds=9, seconds=0.1, min_calls=4, starts=3)
QUICK = Schedule(rounds=3, seconds=0.05, min_calls=2)

# Called with what was done and how many of :func:`steps` that was.
OnProgress = Callable[[str, int], None]

# Variant and backend that ratios are relative to, in order of preference.
BASELINES = (
    ("onnx-fp32", "onnxruntime"),
    ("onnx-fp32", "onnxruntime-cuda"),
    ("torchscript-fp32", "torchscript"),
    ("torchscript-fp32", "torchscript-cuda"),
)

# The baseline measured as if it were another subject: how it differs from itself is the noise of the run.
AGAIN = "the baseline again"

DESCRIPTION = (
    "Each subject (variant, backend, batch size, threads) runs in a process of its own. Subjects take turns in "
    "rounds, every other round backwards, so that a drift of the machine affects all alike. In each of its first turns "
    "a subject is started anew, which is timed until its first answer is back; the last of these processes is kept "
    "for the rounds that remain while memory allows. A turn warms up until calls get no faster, then times calls of "
    "preprocessed images to outputs by a monotonic clock with garbage collection off. Intervals are 95 % bootstrap "
    "intervals that draw rounds, then calls within them; of fewer than six rounds, Student's on the logarithms of the "
    "rounds' figures. Ratios to the baseline are taken within rounds. The baseline "
    "is measured twice; the difference is the noise of the run. Memory is that of the process after its calls."
)


def steps(candidates: Sequence[CaseCommand], schedule: Schedule, samples: LabelledImages | None) -> int:
    """Return how many steps a run takes."""
    return (len(candidates) + 1) * schedule.rounds + (0 if samples is None else len(_answering(candidates)))


def run(
    bundle: Bundle,
    candidates: Sequence[CaseCommand],
    *,
    schedule: Schedule = SCHEDULE,
    samples: LabelledImages | None = None,
    absent: Mapping[str, str] | None = None,
    with_roofline: bool = True,
    on_step: OnProgress = lambda _, __: None,
) -> Results:
    """Measure ``candidates``. Interrupting it (Ctrl-C) ends it and returns the measurements so far.

    Args:
        samples: labelled images to measure accuracy on.
        absent: as :func:`~vgg_bench.cases.choose` returned it.
        with_roofline: measure the peaks of the machine first, which takes seconds, and compare each row with them.
    """
    measurements, baseline = Measurements(), _baseline(candidates)
    on_cuda = any(candidate.subject.device == "cuda" for candidate in candidates)
    finished = False
    try:
        for threads in dict.fromkeys(candidate.subject.threads for candidate in candidates if with_roofline):
            if (peaks := measure_peaks(threads)) is not None:
                measurements.peaks[threads] = peaks
        _run_rounds(candidates, baseline, schedule, measurements, on_step)
        if samples is not None:
            _collect_predictions(candidates, samples, measurements, bundle.manifest, on_step)
        finished = True
    except KeyboardInterrupt:
        pass
    results = Results(
        bundle=bundle.directory.resolve().name,
        architecture=bundle.manifest.architecture.name,
        source=bundle.manifest.source.sha256 or "",
        baseline=(baseline.subject.variant, baseline.subject.backend),
        rows=tuple(build_row(case, baseline.subject, measurements, bundle.manifest) for case in candidates),
        machine=describe_machine(measurements.peaks, _noise(baseline, measurements), with_gpu=on_cuda),
        method=Method(DESCRIPTION, schedule.rounds, schedule.seconds, schedule.min_calls, schedule.starts, finished),
        absent=dict(absent or {}),
        versions=package_versions(),
        compression=() if bundle.manifest.compression is None else bundle.manifest.compression.curve,
    )
    best = recommended(results)
    return replace(results, recommended=None if best is None else best.variant)


def _baseline(candidates: Sequence[CaseCommand]) -> CaseCommand:
    """The baseline: the first of :data:`BASELINES` that is measured, else the first row."""
    measured = {(case.subject.variant, case.subject.backend): case for case in reversed(candidates)}
    return next((measured[pair] for pair in BASELINES if pair in measured), candidates[0])


def _run_rounds(
    candidates: Sequence[CaseCommand],
    baseline: CaseCommand,
    schedule: Schedule,
    measurements: Measurements,
    on_step: OnProgress,
) -> None:
    commands = {candidate.subject.name: candidate.command for candidate in candidates}
    with closing(turns(commands | {AGAIN: baseline.command}, schedule)) as outcomes:
        for name, outcome in outcomes:
            so_far = measurements.turns.setdefault(name, [])
            if isinstance(outcome, Failure):
                measurements.failures[name] = outcome
                on_step(name, schedule.rounds - len(so_far))
            else:
                so_far.append(outcome)
                on_step(name, 1)


def _collect_predictions(
    candidates: Sequence[CaseCommand],
    samples: LabelledImages,
    measurements: Measurements,
    manifest: Manifest,
    on_step: OnProgress,
) -> None:
    measurements.classes = samples.classes
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder) / "images.npy"
        samples.save(images, manifest)
        for candidate in _answering(candidates):
            subject = candidate.subject
            if subject.name not in measurements.failures:
                try:
                    with Worker(candidate.command) as worker:
                        measurements.answers[subject.variant, subject.backend] = worker.classify(str(images))
                except WorkerEndedError as ended:
                    measurements.failures[subject.name] = ended.failure
            on_step(f"accuracy of {subject.name}", 1)


def _answering(candidates: Sequence[CaseCommand]) -> list[CaseCommand]:
    """The first candidate of each variant and backend: batch size and threads do not change the answers."""
    return list({(case.subject.variant, case.subject.backend): case for case in reversed(candidates)}.values())[::-1]


def _noise(baseline: CaseCommand, measurements: Measurements) -> float | None:
    first, again = measurements.rounds(baseline.subject.name), measurements.rounds(AGAIN)
    return statistics.noise(first, again) if first and again else None
