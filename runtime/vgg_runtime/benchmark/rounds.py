"""Interleaved rounds over subjects that each live in a process of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from statistics import median
from typing import IO, Any

from vgg_runtime.errors import VggDeployError

__all__ = ["Ratio", "Timings", "bundle_subject", "measure"]


@dataclass(frozen=True)
class Ratio:
    """How many times the baseline's latency a subject takes.

    Attributes:
        value: median over the rounds of (median latency / baseline's median latency in the same round).
        low, high: the least and the greatest of them.
    """

    value: float
    low: float
    high: float


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

    def ratio(self, subject: str, baseline: str) -> Ratio:
        """Return the latency of ``subject`` in units of that of ``baseline``, compared within each round."""
        pairs = zip(self.rounds[subject], self.rounds[baseline], strict=True)
        ratios = [median(ours) / median(theirs) for ours, theirs in pairs]
        return Ratio(median(ratios), min(ratios), max(ratios))


def bundle_subject(bundle: object, variant: str, *, threads: int | None = None, batch_size: int = 1) -> list[str]:
    """Return the command of the worker process that times a variant of a bundle."""
    # -P: what lies in the current folder, beside a checkpoint, is not imported.
    command = [sys.executable, "-P", "-m", "vgg_runtime.benchmark.worker", str(bundle), "--variant", variant]
    command += ["--batch-size", str(batch_size)]
    return command if threads is None else [*command, "--threads", str(threads)]


def measure(
    subjects: Mapping[str, Sequence[str]],
    *,
    rounds: int = 5,
    seconds: float = 1.0,
    least: int = 3,
    on_round: Callable[[int], None] = lambda _: None,
) -> Timings:
    """Start every subject's worker, then time them in turns.

    Args:
        subjects: the worker's command by name.
        rounds: how often each subject has its turn.
        seconds: time that a turn takes at least.
        least: calls that a turn takes at least.
        on_round: called with the number of the round that begins.

    Raises:
        VggDeployError: a worker fails; the message holds what it said.
    """
    taken: dict[str, list[list[float]]] = {name: [] for name in subjects}
    with ExitStack() as stack:
        workers = {name: stack.enter_context(_started(name, command)) for name, command in subjects.items()}
        for number in range(rounds):
            on_round(number)
            # Every other round backwards, so that nobody always follows the same neighbour.
            for name in list(subjects)[:: 1 if number % 2 == 0 else -1]:
                taken[name].append(workers[name].ask({"seconds": seconds, "least": least})["latencies"])
    return Timings(taken)


@dataclass(frozen=True)
class _Worker:
    name: str
    process: subprocess.Popen[str]

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        with suppress(BrokenPipeError):  # it has ended; what it said comes as its answer
            _pipe(self.process.stdin).write(json.dumps(request) + "\n")
            _pipe(self.process.stdin).flush()
        return self.answer()

    def answer(self) -> dict[str, Any]:
        line = _pipe(self.process.stdout).readline()
        if not line:
            said = _pipe(self.process.stderr).read().strip().splitlines()
            raise VggDeployError(f"the process that measures {self.name} failed: {said[-1] if said else 'no output'}")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def _started(name: str, command: Sequence[str]) -> Iterator[_Worker]:
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        worker = _Worker(name, process)
        try:
            worker.answer()  # it has loaded and warmed up; the next one may start without disturbing it
            yield worker
        finally:
            process.kill()
            with suppress(BrokenPipeError):  # closing flushes what it did not read
                _pipe(process.stdin).close()


def _pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None  # Popen was asked for all three
    return stream
