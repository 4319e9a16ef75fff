"""From the answers of the processes to the rows of the results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean

from vgg_bench.analysis import statistics as estimates
from vgg_bench.analysis.accuracy import accuracy_with_interval, quality_from_manifest
from vgg_bench.analysis.roofline import roofline
from vgg_bench.cases import CaseCommand
from vgg_bench.measurement.peaks import Peaks
from vgg_bench.results import BenchmarkCase, Estimate, Quality, Row
from vgg_bench.timing.memory import Memory
from vgg_bench.timing.process import Failure, Turn
from vgg_runtime.bundle.manifest import Manifest

__all__ = ["Measurements", "build_row"]

# The ratio of the baseline to itself.
ITSELF = Estimate(1.0, 1.0, 1.0)

NEVER_RUN = Failure("the run was interrupted before its first turn", 0)


@dataclass
class Measurements:
    """What has been measured so far.

    Attributes:
        turns: by the subject's name, one per round.
        failures: by the subject's name.
        answers: best class of each sample, by variant and backend.
        classes: the right class of each sample.
        peaks: of the machine, by number of threads.
    """

    turns: dict[str, list[Turn]] = field(default_factory=dict)
    failures: dict[str, Failure] = field(default_factory=dict)
    answers: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    classes: Sequence[int] = ()
    peaks: dict[int, Peaks] = field(default_factory=dict)

    def rounds(self, name: str) -> tuple[tuple[float, ...], ...]:
        """Return the latencies of the subject called ``name``, in seconds, one tuple per round."""
        return tuple(turn.latencies for turn in self.turns.get(name, ()))


def build_row(candidate: CaseCommand, baseline: BenchmarkCase, measurements: Measurements, manifest: Manifest) -> Row:
    """Return the row of a candidate; ``baseline`` was measured at the same batch size and threads."""
    subject, turns = candidate.subject, measurements.turns.get(candidate.subject.name, [])
    rounds = measurements.rounds(subject.name)
    result = Row(subject, candidate.bytes, rounds, quality=_quality(subject, measurements, manifest))
    failure = measurements.failures.get(subject.name) or (None if turns else NEVER_RUN)
    if failure is not None:
        return replace(result, failure=failure.message, exit_code=failure.exit_code)
    copies = [turn.copies_s for turn in turns if turn.copies_s is not None]
    latency = estimates.latency(rounds, subject.batch_size, copies)
    starts = [turn.start for turn in turns if turn.start is not None]
    rival = replace(baseline, batch_size=subject.batch_size, threads=subject.threads)
    rivals = measurements.rounds(rival.name)
    return replace(
        result,
        latency=latency,
        ratio=ITSELF if subject == rival else estimates.ratio(rounds, rivals) if rivals else None,
        cold_start_s=estimates.median_of([start.cold_start_s for start in starts]),
        load_s=estimates.median_of([start.load_s for start in starts]),
        memory=_memory(turns),
        energy_j=_mean(turn.energy_j for turn in turns),
        roofline=roofline(
            manifest, candidate.bytes, subject.batch_size, measurements.peaks[subject.threads], latency.p50.value
        )
        if subject.device == "cpu" and subject.threads in measurements.peaks
        else None,
    )


def _quality(subject: BenchmarkCase, measurements: Measurements, manifest: Manifest) -> Quality:
    # TF32 rounds otherwise than what was compared with PyTorch at export.
    quality = Quality() if subject.cuda_mode == "tf32" else quality_from_manifest(subject.variant, manifest)
    answers = measurements.answers.get((subject.variant, subject.backend))
    if answers is None:
        return quality
    return replace(quality, accuracy=accuracy_with_interval(answers, measurements.classes), images=len(answers))


def _memory(turns: Sequence[Turn]) -> Memory | None:
    """The greatest peak, and the other figures as they were after the last call."""
    memories = [turn.memory for turn in turns if turn.memory is not None]
    if not memories:
        return None
    return replace(memories[-1], peak=max(memory.peak for memory in memories), gpu=turns[-1].gpu_mb)


def _mean(values: Iterable[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return fmean(numbers) if numbers else None
