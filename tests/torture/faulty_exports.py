"""Exports that are killed, run out of disk, meet a broken one, or are started at once to one place."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import NamedTuple

import torch
from file_system_faults import Fault, fail_with, kill, run_with_fault
from fork_server import Answer, ForkServer
from torch import nn
from torch.onnx._internal.exporter._registration import ONNXRegistry

import vgg_export.pipeline
from vgg_bench.results import Machine, Method, Results
from vgg_export import export
from vgg_export.progress import OnNote, ignore_notes
from vgg_models._torchvision import import_torchvision
from vgg_runtime.bundle.checksums import sha256_of
from vgg_runtime.bundle.directory import open_bundle
from vgg_runtime.errors import VggDeployError

__all__ = ["concurrent_exports", "export_at_once", "export_with_fault", "faulty_exports"]

CPU_SECONDS = 60

_FAULTS: dict[str, Fault] = {"kill": kill, "ENOSPC": fail_with(errno.ENOSPC), "EIO": fail_with(errno.EIO)}
_BUNDLE = "a.bundle"
_MORE_TO_REPLACE = 4  # events at most, compared with an export to where nothing is
_REFUSED, _NOTED = 3, 4  # exit codes


def _load_exporter() -> None:
    """All that an export imports, and PyTorch's table of operators, before the fork."""
    import_torchvision()
    ONNXRegistry.from_torchlib = staticmethod(cache(ONNXRegistry.from_torchlib))
    torch.onnx.export(nn.Linear(2, 2), (torch.ones(1, 2),), dynamo=True, verbose=False, opset_version=20)


def _untimed(*_: object) -> Results:
    return Results("", "", "", ("onnx-fp32", "onnxruntime"), (), Machine("", "", 1, 1.0), Method("", 0, 0.0, 0, 0))


if __name__ != "__main__" and "TORTURE_SERVER" in os.environ:
    _load_exporter()
    vgg_export.pipeline.time_variants = _untimed


class _Request(NamedTuple):
    """An export of ``checkpoint`` into the folder ``exports`` beside it, and what it meets.

    Attributes:
        fault: the name of a fault, met at event ``at``; "moment" is a kill after that many seconds of CPU time.
    """

    checkpoint: str
    fault: str = "kill"
    at: float = -1


def export_with_fault(request: Path) -> str:
    """Return how the export of a request ended, how many events it came to, and its CPU time."""
    asked = _Request(*json.loads(request.read_text()))
    folder = request.parent / "exports"

    def work() -> None:
        notes: list[str] = []
        if asked.fault == "moment":
            signal.setitimer(signal.ITIMER_PROF, asked.at)  # SIGPROF, which nothing handles
        _export(request.with_name(asked.checkpoint), folder, notes.append)
        if any("cannot be removed" in note for note in notes):
            os._exit(_NOTED)

    at = -1 if asked.fault == "moment" else int(asked.at)
    code, events = run_with_fault(work, folder, _FAULTS.get(asked.fault, kill), at)
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return json.dumps([code, events, usage.ru_utime + usage.ru_stime])


def export_at_once(folder: Path) -> str:
    """Export every checkpoint in the folder to one place, all at once; return how each process ended."""
    processes = [_forked(partial(_export, path, folder / "exports")) for path in sorted(folder.glob("*.pth"))]
    return json.dumps([os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in processes])


def _forked(work: Callable[[], None]) -> int:
    if process := os.fork():
        return process
    code = 1
    try:
        work()
        code = 0
    except VggDeployError:
        code = _REFUSED
    finally:
        os._exit(code)


def _export(checkpoint: Path, folder: Path, on_note: OnNote = ignore_notes) -> None:
    torch.set_num_threads(1)
    bundle = folder / _BUNDLE
    export(checkpoint, bundle, formats=["onnx"], preprocess="plain", input_size=8, overwrite=True, on_note=on_note)


def faulty_exports(server: ForkServer, folder: Path, count: int, seed: int) -> Iterator[tuple[str, Answer]]:
    """Replace a bundle ``count`` times by exports that meet a fault, and once by one that meets none.

    Every event meets every fault, in a random order; after that come kills at random moments. The outcome is the
    bundle that is there, "old" or "new"; "broken" is one that is not whole, "left" one with something new beside it.
    """
    folder, random = folder.resolve(), Random(seed)  # noqa: S311 - repeatable
    checkpoints = {sha256_of(path): path.name for path in _save_checkpoints(folder, 2)}
    _, events, seconds = _ask(server, folder, _Request("0.pth"))
    events += _MORE_TO_REPLACE
    points: list[tuple[str, float]] = [(fault, at) for fault in _FAULTS for at in range(1, events + 1)]
    random.shuffle(points)
    points += [("moment", random.uniform(0, seconds)) for _ in range(count - len(points))]
    for fault, at in [*points[:count], ("none", -1)]:
        old, before = _exported(folder), _others(folder)
        new = next(digest for digest in checkpoints if digest != old)
        code, *_ = _ask(server, folder, _Request(checkpoints[new], fault, at))
        if fault == "none":
            old, before = new, set()
        yield f"{fault} {at:.4g}", _answer(folder, code, _others(folder) - before, old=old, new=new)


def concurrent_exports(
    server: ForkServer, folder: Path, count: int, _: int, together: int = 16
) -> Iterator[tuple[str, Answer]]:
    """Start some exports at once, ``count`` times; "new" is a round that leaves one of them, whole and alone."""
    folder = folder.resolve()
    _save_checkpoints(folder, together)
    for number in range(count):
        answer = server.call("export_at_once", folder)
        codes = json.loads(answer.detail) if answer.outcome == "read" else []
        if not codes or not set(codes) <= {0, _REFUSED} or 0 not in codes:
            yield str(number), Answer("failed", answer.detail)
        else:
            new = _exported(folder)
            yield str(number), _answer(folder, 0, _others(folder), old=new, new=new)


def _save_checkpoints(folder: Path, count: int) -> list[Path]:
    (folder / "exports").mkdir()
    paths = [folder / f"{number}.pth" for number in range(count)]
    for number, path in enumerate(paths):
        torch.manual_seed(number)
        torch.save(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), path)
    return paths


def _ask(server: ForkServer, folder: Path, request: _Request) -> tuple[int, int, float]:
    path = folder / "request.json"
    path.write_text(json.dumps(request))
    answer = server.call("export_with_fault", path)
    assert answer.outcome == "read", answer
    code, events, seconds = json.loads(answer.detail)
    return code, events, seconds


def _exported(folder: Path) -> str | None:
    """The SHA-256 of the checkpoint that the bundle was made from; None if it is not whole."""
    try:
        bundle = open_bundle(folder / "exports" / _BUNDLE)
        return None if bundle.changed_files() else bundle.manifest.source.sha256
    except VggDeployError:
        return None


def _others(folder: Path) -> set[str]:
    """What is beside the bundle."""
    return {path.name for path in (folder / "exports").iterdir()} - {_BUNDLE}


def _answer(folder: Path, code: int, left: set[str], *, old: str | None, new: str | None) -> Answer:
    there = _exported(folder)
    if there is None or there not in (old, new) or (code in (0, _NOTED) and there != new):
        return Answer("broken", f"exit code {code}")
    # Until the next export a workspace stays if the process was killed, or could not remove it and said so.
    if len(left) > (code < 0 or code == _NOTED):
        return Answer("left", f"exit code {code}: {', '.join(sorted(left))}")
    return Answer("new" if there == new else "old", "")
