"""Interleaved rounds over subjects, each in its own process."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from vgg_bench.timing import nvml
from vgg_bench.timing.memory import available_share
from vgg_bench.timing.process import Failure, Turn, Worker, WorkerEndedError

__all__ = ["Schedule", "turns"]

# A process is kept for its next turn while this share of the machine's memory, and of the GPU's, is available.
MIN_AVAILABLE = 0.25


@dataclass(frozen=True)
class Schedule:
    """How much is measured.

    Attributes:
        rounds: number of turns of each subject.
        seconds: duration of a turn at least, unless ``max_calls`` end it earlier.
        min_calls: calls per turn at least.
        max_calls: calls per turn at most.
        starts: number of first rounds in which each subject gets a new process; the last of these is kept for the
            remaining rounds.
    """

    rounds: int
    seconds: float
    min_calls: int
    max_calls: int = 500
    starts: int = 1


def _available_share(command: Sequence[str]) -> float:
    on_gpu = nvml.free_share() if "cuda" in command else None
    return available_share() if on_gpu is None else min(available_share(), on_gpu)


def turns(subjects: Mapping[str, Sequence[str]], schedule: Schedule) -> Generator[tuple[str, Turn | Failure]]:
    """Yield each turn as it completes: every subject once per round, one after another.

    A subject that fails has no more turns. Closing the generator ends every process.

    Args:
        subjects: the worker's command by name.
    """
    running = dict(subjects)
    with ExitStack() as stack:
        kept: dict[str, Worker] = {}
        for number in range(schedule.rounds):
            # Every other round backwards, so that no subject always follows the same neighbour.
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
                if number + 1 >= schedule.starts and _available_share(running[name]) > MIN_AVAILABLE:
                    kept[name] = worker
                else:
                    worker.end()
                yield name, turn
