"""Kill a process, or fail a call, at the n-th thing that it does to a folder: every point at once, reproducibly.

Python reports what it asks of the file system by audit events, before it asks; fsync, which is not among them, is
counted by a replacement. Between two events a file may have been written to in any number of steps; nothing reads it
before it is renamed.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

EVENTS = {"open", "os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.chmod", "os.truncate"}

Fault = Callable[[], None]


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fail_with(number: int) -> Fault:
    """Return a fault that fails the call, as a full or a broken disk does."""

    def fail() -> None:
        raise OSError(number, os.strerror(number))

    return fail


def run_with_fault(work: Callable[[], None], folder: Path, fault: Fault, at: int) -> tuple[int, int]:
    """Run ``work`` in a forked process whose ``at``-th event in ``folder`` meets ``fault``; -1 is none.

    Returns:
        how the process ended: its exit code, 9 if ``work`` raised, or the negative number of its signal; and how many
        events it came to.
    """
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(reading)
        try:
            _count_events(folder, fault, at, writing)
            work()
        except BaseException:
            if "FAULTS_VERBOSE" in os.environ:
                traceback.print_exc()
            os._exit(9)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        events = len(pipe.read())
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), events


def _count_events(folder: Path, fault: Fault, at: int, pipe: int) -> None:
    count = 0
    prefix = str(folder)

    def meet() -> None:
        nonlocal count
        count += 1
        os.write(pipe, b".")
        if count == at:
            fault()

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in EVENTS and isinstance(arguments[0], str | bytes | os.PathLike):
            if os.fsdecode(arguments[0]).startswith(prefix):
                meet()
        elif event in {"os.remove", "os.rmdir"}:  # relative to a descriptor, as shutil.rmtree calls them
            meet()

    fsync = os.fsync

    def counted_fsync(descriptor: int) -> None:
        meet()
        fsync(descriptor)

    os.fsync = counted_fsync
    sys.addaudithook(hook)
