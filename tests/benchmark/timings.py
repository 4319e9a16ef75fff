"""Latencies of a few subjects in turns, by the harness of vgg-bench."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from vgg_bench.cases import WORKER
from vgg_bench.timing.process import Failure
from vgg_bench.timing.rounds import Schedule, turns


@dataclass(frozen=True)
class Timings:
    """Latencies in seconds: one tuple per round and subject.

    Attributes:
        rounds: by the subject's name; entry i of every subject was measured in round i.
    """

    rounds: Mapping[str, Sequence[Sequence[float]]]

    def latency(self, subject: str) -> float:
        """Return the median over rounds of the median latency, in seconds."""
        return median(median(latencies) for latencies in self.rounds[subject])

    def ratios(self, subject: str, baseline: str) -> list[float]:
        """Return the latency of ``subject`` in units of that of ``baseline``, round by round."""
        pairs = zip(self.rounds[subject], self.rounds[baseline], strict=True)
        return [median(ours) / median(theirs) for ours, theirs in pairs]


def measure(
    subjects: Mapping[str, Sequence[str]], *, rounds: int = 5, seconds: float = 1.0, min_calls: int = 3
) -> Timings:
    """Time every subject in turns; the arguments are the worker's commands by name, and fields of ``Schedule``."""
    latencies: dict[str, list[tuple[float, ...]]] = {name: [] for name in subjects}
    for name, turn in turns(subjects, Schedule(rounds, seconds, min_calls)):
        if isinstance(turn, Failure):
            raise SystemExit(f"the process that measures {name} failed: {turn.message}")
        latencies[name].append(turn.latencies)
    return Timings(latencies)


def bundle_subject(bundle: Path, variant: str, *, threads: int) -> list[str]:
    """Return the command of the worker that times a variant of ``bundle`` on the default backend of its format."""
    return [*WORKER, str(bundle), "--variant", variant, "--threads", str(threads)]
