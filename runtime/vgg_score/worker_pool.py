"""Worker processes that score the shards of a plan, seen from the process that drives them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from queue import SimpleQueue
from threading import Lock, Thread

from vgg_runtime._internal.child_process import module_command
from vgg_runtime._internal.json_codec import to_json
from vgg_runtime.errors import MissingCapabilityError, VggDeployError
from vgg_score.plan import Shard
from vgg_score.shard_scoring import Counts, ScoringJob, error_from_json

__all__ = ["score_in_processes"]

_MODULE = "vgg_score._shard_worker"

# A process may be killed for lack of memory at no fault of its shard; one that always ends there has another reason.
_ATTEMPTS = 3


def score_in_processes(shards: Iterable[Shard], jobs: Sequence[ScoringJob]) -> Generator[Counts, None, None]:
    """Score ``shards`` in one process for each of ``jobs``; yield what was scored, to be added up.

    A process that is killed is started again with the same shard; what it had scored of it is taken back. The
    processes end with the iterator.

    Raises:
        VggDeployError: what a worker raised.
        MissingCapabilityError: processes were killed while they scored the same shard.
    """
    events: _Events = SimpleQueue()
    waiting = _Waiting(shards)
    workers = [_Worker(job) for job in jobs]
    threads = [Thread(target=_serve, args=(worker, waiting, events), name="vgg-score") for worker in workers]
    try:
        for thread in threads:
            thread.start()
        for _ in threads:
            yield from _counts_until_end(events)
    finally:
        for worker in workers:
            worker.end()
        for thread in threads:
            thread.join()


# What a thread reports: what its worker has scored, its error, or None at its end.
_Events = SimpleQueue["Counts | BaseException | None"]


def _counts_until_end(events: _Events) -> Iterator[Counts]:
    """Yield what is reported until one of the threads ends."""
    while (event := events.get()) is not None:
        if isinstance(event, BaseException):
            raise event
        yield event


class _Waiting:
    """The shards that no worker has taken yet; threads share it."""

    def __init__(self, shards: Iterable[Shard]) -> None:
        self._shards = iter(shards)
        self._turn = Lock()

    def __iter__(self) -> Iterator[Shard]:
        return self

    def __next__(self) -> Shard:
        with self._turn:
            return next(self._shards)


def _serve(worker: _Worker, waiting: _Waiting, events: _Events) -> None:
    """Have ``worker`` score one shard after the other."""
    try:
        for shard in waiting:
            _score(worker, shard, events.put)
        events.put(None)
    except BaseException as error:
        events.put(error)


def _score(worker: _Worker, shard: Shard, report: Callable[[Counts], None]) -> None:
    for attempt in range(1, _ATTEMPTS + 1):
        scored = Counts()
        try:
            for counts in worker.score(shard):
                scored += counts
                report(counts)
            return
        except _KilledError as killed:
            report(Counts() - scored)
            if attempt == _ATTEMPTS:
                raise MissingCapabilityError(
                    f"{_ATTEMPTS} processes were ended by the system while they scored shard {shard.index}: {killed}.",
                    hint="If memory ran out, use fewer `workers` or a smaller `batch_size`; `resume=True` goes on.",
                ) from killed


class _KilledError(Exception):
    """A worker's process ended without an answer."""


class _Worker:
    """A process, started by its first shard and after it was killed."""

    def __init__(self, job: ScoringJob) -> None:
        self._job = job
        self._process: subprocess.Popen[str] | None = None
        self._starting = Lock()
        self._ended = False

    def score(self, shard: Shard) -> Iterator[Counts]:
        """Score ``shard`` and yield what was scored, until its file is there.

        Raises:
            _KilledError: the process ended.
            VggDeployError: what the process raised.
        """
        process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(BrokenPipeError):  # it has ended, which its stdout shows
            process.stdin.write(shard.dump() + "\n")
            process.stdin.flush()
        for line in process.stdout:
            answer = json.loads(line)
            if "error" in answer:
                raise error_from_json(answer["error"])
            counts = Counts(**answer)
            yield counts
            if counts.shards:
                return
        self._process = None
        _reap(process)
        raise _KilledError(f"signal {-process.returncode}" if process.returncode < 0 else "without a message")

    def end(self) -> None:
        """End the process, and start none again."""
        with self._starting:
            self._ended = True
            if self._process is not None:
                self._process.kill()
                _reap(self._process)

    def _start(self) -> subprocess.Popen[str]:
        with self._starting:
            if self._ended:
                raise VggDeployError("the run has ended.")
            self._process = subprocess.Popen(
                module_command(_MODULE),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                start_new_session=True,  # Ctrl-C is for this process, which ends the workers
            )
            assert self._process.stdin is not None
            with suppress(BrokenPipeError):
                self._process.stdin.write(json.dumps(to_json(self._job)) + "\n")
            return self._process


def _reap(process: subprocess.Popen[str]) -> None:
    """Close the pipes of a process that has ended, or is about to, and wait for it."""
    with suppress(BrokenPipeError):  # closing its stdin flushes unread requests
        process.__exit__(None, None, None)
