"""Calls in processes forked from one that has everything loaded: thousands, each with limits on time and memory."""

from __future__ import annotations

import gc
import importlib
import json
import os
import re
import resource
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from vgg_runtime.errors import VggDeployError

CPU_SECONDS = 2  # of a call, unless the module has a CPU_SECONDS of its own
MEBIBYTES = 300  # of growth, beyond the size of the file

_WALL_SECONDS = 300  # of a call that waits for something; the machine may be busy with other things
_HARD_MEBIBYTES = 2048  # of growth of the address space, beyond which the machine itself would suffer
_MESSAGE_CHARACTERS = 5000
_OUT_OF_MEMORY = re.compile("MemoryError|not enough memory|not fit into memory|bad_alloc")


class Answer(NamedTuple):
    """How a call ended.

    Attributes:
        outcome: "read", "refused" (by an error about the input, or about what this machine can do with it), or a fault:
            "untyped" (by any other error), "slow", "large", "crash".
        detail: what the function returned, or the reason.
    """

    outcome: str
    detail: str


class ForkServer:
    """Calls functions of one module, in a process of its own each time."""

    def __init__(self, requests: IO[str], answers: IO[str]) -> None:
        self._requests, self._answers = requests, answers

    def call(self, function: str, path: Path) -> Answer:
        """Call ``function(path)``."""
        print(json.dumps([function, str(path)]), file=self._requests, flush=True)
        return Answer(*json.loads(self._answers.readline()))


@contextmanager
def fork_server(module: str) -> Iterator[ForkServer]:
    """Start a server for the functions of ``module``, a file of this folder.

    The module is imported with TORTURE_SERVER in the environment: there it loads what each call would load otherwise.
    """
    # Measuring coverage would count as the time of a call.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", __file__, module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment | {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1", "TORTURE_SERVER": module},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield ForkServer(process.stdin, process.stdout)
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()


def _serve(module: str) -> None:
    functions = vars(importlib.import_module(module))
    cpu_seconds = functions.get("CPU_SECONDS", CPU_SECONDS)
    gc.freeze()  # the memory that is there stays shared with the children
    # What a library prints must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "w")
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    for request in sys.stdin:
        function, path = json.loads(request)
        print(json.dumps(_answer(functions[function], Path(path), cpu_seconds, silence)), file=answers, flush=True)


def _answer(function: Callable[[Path], str | None], path: Path, cpu_seconds: int, silence: int) -> Answer:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.dup2(silence, 2)
            os.write(writer, json.dumps(_limited(function, path, cpu_seconds)).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as results:
        if not select.select([results], [], [], _WALL_SECONDS)[0]:
            os.kill(pid, signal.SIGXCPU)
        answer = results.read()
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        return Answer("slow" if name in ("SIGXCPU", "SIGKILL") else "crash", name)
    return Answer(*json.loads(answer)) if answer else Answer("crash", "no answer")


def _limited(function: Callable[[Path], str | None], path: Path, cpu_seconds: int) -> Answer:
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 1))
    resource.setrlimit(resource.RLIMIT_AS, ((_memory("VmSize") + _HARD_MEBIBYTES) << 20,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    before = _memory("VmRSS")
    outcome, detail = _outcome(function, path)
    growth = _memory("VmHWM") - before
    if growth > MEBIBYTES + (path.lstat().st_size >> 20) or _OUT_OF_MEMORY.search(detail):
        outcome, detail = "large", f"{growth} MiB; {detail}"
    return Answer(outcome, detail[:300])


def _memory(field: str) -> int:
    """Mebibytes of this process."""
    return int(re.findall(rf"{field}:\s+(\d+)", Path("/proc/self/status").read_text())[0]) // 1024


def _outcome(function: Callable[[Path], str | None], path: Path) -> Answer:
    try:
        return Answer("read", function(path) or "")
    except Exception as error:
        is_about_input = isinstance(error, VggDeployError) and error.exit_code in (3, 4, 5)
        is_refusal = is_about_input and len(str(error)) < _MESSAGE_CHARACTERS
        return Answer("refused" if is_refusal else "untyped", f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    _serve(sys.argv[1])
