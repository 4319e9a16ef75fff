"""A worker's process, seen from the one that measures."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from vgg_bench.timing.memory import Memory
from vgg_runtime.errors import MissingCapabilityError

__all__ = ["Failure", "Start", "Turn", "Worker", "WorkerEndedError"]


@dataclass(frozen=True)
class Start:
    """Start-up times of a process, in seconds.

    Attributes:
        cold_start_s: until its first answer was received.
        load_s: opening the model, counted from when all imports were done.
    """

    cold_start_s: float
    load_s: float


@dataclass(frozen=True)
class Turn:
    """One turn, as reported by the subject's process.

    Attributes:
        latencies: in seconds.
        start: None if the process was started for an earlier turn.
        copies_s: seconds that copying to and from the device takes, None on the CPU.
        energy_j: joules per call.
        gpu_mb: memory of the device allocated since before the model was opened.
    """

    latencies: tuple[float, ...]
    start: Start | None = None
    memory: Memory | None = None
    copies_s: float | None = None
    energy_j: float | None = None
    gpu_mb: float | None = None


@dataclass(frozen=True)
class Failure:
    """Why a subject cannot be measured; ``exit_code`` is that of the commands."""

    message: str
    exit_code: int


class WorkerEndedError(Exception):
    """A worker's process ended instead of answering."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Worker:
    """A worker's process as a context; the first request starts it.

    Args:
        command: to run.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def turn(self, *, seconds: float, min_calls: int, max_calls: int) -> Turn:
        """Time calls until they took ``seconds`` together, within the given bounds on their number.

        Raises:
            WorkerEndedError: the process ended.
        """
        start = self._start() if self._process is None else None
        answer = self._ask({"seconds": seconds, "min_calls": min_calls, "max_calls": max_calls})
        memory = answer["memory"]
        return Turn(
            latencies=tuple(answer["latencies"]),
            start=start,
            memory=None if memory is None else Memory(**memory),
            copies_s=answer["copies_s"],
            energy_j=answer["energy_j"],
            gpu_mb=answer["gpu_mb"],
        )

    def classify(self, images: str) -> list[int]:
        """Return the best class of each image in the ``.npy`` file ``images``, which are as the variants take them.

        Raises:
            WorkerEndedError: the process ended.
        """
        if self._process is None:
            self._start()
        classes: list[int] = self._ask({"classify": images})["classes"]
        return classes

    def end(self) -> None:
        """End the process if it is running."""
        if self._process is not None:
            self._process.kill()
            with suppress(BrokenPipeError):  # leaving closes its stdin, which flushes unread requests
                self._process.__exit__(None, None, None)
            self._process = None
            self._said.close()

    def _start(self) -> Start:
        # A file rather than a pipe: a process that fills a pipe nobody reads is stuck.
        self._said = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115  closed by end()
        begun = time.perf_counter()
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            start_new_session=True,  # Ctrl-C is for this process, which keeps the measurements
        )
        load_s = self._answer()["load_s"]
        return Start(time.perf_counter() - begun, load_s)

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended; the reason follows in place of its answer
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise WorkerEndedError(self._failure(self._process.wait()))
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _failure(self, code: int) -> Failure:
        self._said.seek(0)
        lines = self._said.read().strip().splitlines()
        if code < 0:  # most likely the system, for lack of memory
            return Failure(f"its process was ended by signal {-code}", MissingCapabilityError.exit_code)
        return Failure(lines[-1] if lines else f"its process exited with code {code} and no message", max(code, 1))
