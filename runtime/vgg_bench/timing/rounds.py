"""Interleaved rounds over subjects that each live in a process of their own."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median

from vgg_bench.timing.memory import available_share
from vgg_bench.timing.process import Failure, Turn, Worker, WorkerEndedError
from vgg_runtime.errors import VggDeployError

__all__ = ["Ratio", "Schedule", "Timings", "measure", "turns"]


# A process is kept for its next turn while this share of the machine's memory is left.
MIN_AVAILABLE = 0.25


@dataclass(frozen=True)
class Schedule:
    """How much is measured.

    Attributes:
        rounds: turns of each subject.
        seconds: that the calls of a turn take together at least, where that is no more than ``max_calls``.
        min_calls: of a turn.
        max_calls: of a turn.
        starts: processes that each subject is started in anew, one a round; the last of them is kept for the rounds
            that remain.
    """

    rounds: int
    seconds: float
    min_calls: int
    max_calls: int = 500
    starts: int = 1


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


def measure(
    subjects: Mapping[str, Sequence[str]], *, rounds: int = 5, seconds: float = 1.0, min_calls: int = 3
) -> Timings:
    """Time every subject in turns.

    Args:
        subjects: the worker's command by name.
        rounds: how often each subject has its turn.
        seconds: time that the calls of a turn take at least.
        min_calls: of a turn.

    Raises:
        VggDeployError: a worker fails; the message holds what it said.
    """
    latencies: dict[str, list[tuple[float, ...]]] = {name: [] for name in subjects}
    for name, turn in turns(subjects, Schedule(rounds, seconds, min_calls)):
        if isinstance(turn, Failure):
            raise VggDeployError(f"the process that measures {name} failed: {turn.message}")
        latencies[name].append(turn.latencies)
    return Timings(latencies)


def turns(subjects: Mapping[str, Sequence[str]], schedule: Schedule) -> Generator[tuple[str, Turn | Failure]]:
    """Yield each turn as it is done: every subject once a round, one after another.

    A subject that fails has no more turns. Closing the generator ends every process.

    Args:
        subjects: the worker's command by name.
    """
    running = dict(subjects)
    with ExitStack() as stack:
        kept: dict[str, Worker] = {}
        for number in range(schedule.rounds):
            # Every other round backwards, so that nobody always follows the same neighbour.
            for name in list(running)[:: 1 if number % 2 == 0 else -1]:
                worker = kept.pop(name, None) or stack.enter_context(Worker(running[name]))
                try:
                    turn = worker.turn(
                        seconds=schedule.seconds, min_calls=schedule.min_calls, max_calls=schedule.max_calls
                    )
                except WorkerEndedError as ended:
                    del running[name]
                    yield name, ended.failure
                    continue
                if number + 1 >= schedule.starts and available_share() > MIN_AVAILABLE:
                    kept[name] = worker
                else:
                    worker.end()
                yield name, turn
