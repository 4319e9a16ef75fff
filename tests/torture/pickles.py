"""Pickles that leave a canary, a file, if anything in them runs; and those of common networks, which must be read."""

from __future__ import annotations

import builtins
import bz2
import codecs
import gzip
import io
import itertools
import logging
import lzma
import os
import pathlib
import pickle
import runpy
import shutil
import sqlite3
import subprocess
import tarfile
import timeit
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.fx
from fork_server import Answer, ForkServer
from reading import digest
from torch import nn
from torch._tensor import _rebuild_from_type_v2

from vgg_models.architectures.torchvision import empty_torchvision
from vgg_models.architectures.torchvision_families import FAMILIES

__all__ = ["BENIGN", "MALICIOUS", "benign_pickles", "idle_gadgets", "malicious_pickles"]


class _Call:
    """Pickles as a call of ``function(*arguments)``."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


Gadget = Callable[[str, str, str], _Call]  # of the canary's path, of code that makes it, of a script of that code

_GADGETS: dict[str, Gadget] = {
    "os.system": lambda path, *_: _Call(os.system, f"touch {path}"),
    "os.mkdir": lambda path, *_: _Call(os.mkdir, path),
    "os.mkfifo": lambda path, *_: _Call(os.mkfifo, path),
    "os.open": lambda path, *_: _Call(os.open, path, os.O_CREAT),
    "subprocess.run": lambda path, *_: _Call(subprocess.run, ["touch", path]),
    "subprocess.getoutput": lambda path, *_: _Call(subprocess.getoutput, f"touch {path}"),
    "eval": lambda path, code, _: _Call(eval, code),
    "exec": lambda path, code, _: _Call(exec, code),
    "map": lambda path, code, _: _Call(list, _Call(map, eval, [code])),
    "open": lambda path, *_: _Call(builtins.open, path, "w"),
    "io.FileIO": lambda path, *_: _Call(io.FileIO, path, "w"),
    "codecs.open": lambda path, *_: _Call(codecs.open, path, "w"),
    "Path.touch": lambda path, *_: _Call(pathlib.Path.touch, Path(path)),
    "gzip.open": lambda path, *_: _Call(gzip.open, path, "w"),
    "bz2.open": lambda path, *_: _Call(bz2.open, path, "w"),
    "lzma.open": lambda path, *_: _Call(lzma.open, path, "w"),
    "tarfile.open": lambda path, *_: _Call(tarfile.open, path, "w"),
    "ZipFile": lambda path, *_: _Call(zipfile.ZipFile, path, "w"),
    "sqlite3.connect": lambda path, *_: _Call(sqlite3.connect, path),
    "FileHandler": lambda path, *_: _Call(logging.FileHandler, path),
    "shutil.copy": lambda path, code, script: _Call(shutil.copy, script, path),
    "runpy.run_path": lambda path, code, script: _Call(runpy.run_path, script),
    "timeit.timeit": lambda path, code, _: _Call(timeit.timeit, code, "pass", timeit.default_timer, 1),
    "pickle.loads": lambda path, *_: _Call(pickle.loads, pickle.dumps(_Call(os.mkdir, path))),
    "torch.save": lambda path, *_: _Call(torch.save, 1, path),
    "torch.fx": lambda path, code, _: _Call(torch.fx.graph_module._exec_with_source, code, {}),
    "numpy.savetxt": lambda path, *_: _Call(np.savetxt, path, [1.0]),
    "numpy.memmap": lambda path, *_: _Call(np.memmap, path, "u1", "w+", 0, 8),
}


def _layer_with(value: object) -> nn.Module:
    layer = nn.ReLU()
    layer.extra = value  # type: ignore[assignment]
    return nn.Sequential(layer)


def _called_by_torch(call: _Call) -> _Call:
    function, arguments = call.call
    return _Call(_rebuild_from_type_v2, function, torch.Tensor, arguments, {})


_ONES = torch.ones(2)

_PLACES: dict[str, Callable[[_Call], Any]] = {
    "alone": lambda call: call,
    "beside the weights": lambda call: {"state_dict": {"weight": _ONES}, "epoch": call},
    "among the weights": lambda call: {"weight": _ONES, "bias": call},
    "in a list in a tuple": lambda call: {"weight": _ONES, "x": ([call],)},
    "in a layer": _layer_with,
    "as an argument": lambda call: {"weight": _ONES, "x": _Call(OrderedDict, [("a", call)])},
    "called by torch": lambda call: {"weight": _ONES, "x": _called_by_torch(call)},
}

_FORMS: dict[str, dict[str, Any]] = {
    "zip, protocol 2": {"pickle_protocol": 2},
    "zip, protocol 4": {"pickle_protocol": 4},
    "legacy, protocol 2": {"pickle_protocol": 2, "_use_new_zipfile_serialization": False},
}

MALICIOUS = tuple(itertools.product(_GADGETS, _PLACES, _FORMS))


def malicious_pickles(
    server: ForkServer, folder: Path, cases: Iterable[tuple[str, str, str]]
) -> Iterator[tuple[str, Answer]]:
    """Read gadgets in every place and form; "canary" is one that ran."""
    canary, path = folder / "canary", folder / "checkpoint.pth"
    for gadget, place, form in cases:
        torch.save(_PLACES[place](_armed(gadget, canary)), path, **_FORMS[form])
        answer = server.call("read", path)
        yield f"{gadget}, {place}, {form}", Answer("canary", answer.detail) if _was_there(canary) else answer


def idle_gadgets(server: ForkServer, folder: Path) -> list[str]:
    """The gadgets whose canary is not even there after Python's own unpickler read them."""
    canary, path = folder / "canary", folder / "checkpoint.pth"
    idle = []
    for gadget in _GADGETS:
        torch.save(_armed(gadget, canary), path)
        server.call("unpickle", path)
        idle += [] if _was_there(canary) else [gadget]
    return idle


def _armed(gadget: str, canary: Path) -> _Call:
    code, script = f"__import__('os').mkdir({str(canary)!r})", canary.with_suffix(".py")
    script.write_text(code)
    return _GADGETS[gadget](str(canary), code, str(script))


def _was_there(canary: Path) -> bool:
    if canary.is_dir():
        canary.rmdir()
        return True
    was_there = canary.exists()
    canary.unlink(missing_ok=True)
    return was_there


_NETWORKS = tuple(next(iter(family.networks)) for family in FAMILIES)

_SAVED: dict[str, tuple[Callable[[nn.Module], object], dict[str, Any]]] = {
    "state dict, legacy, protocol 2": (nn.Module.state_dict, _FORMS["legacy, protocol 2"]),
    "training loop, zip, protocol 3": (
        lambda net: {"epoch": 3, "state_dict": net.state_dict(), "args": {"lr": 0.1}, "best": torch.tensor(0.5)},
        {"pickle_protocol": 3},
    ),
    "whole module, zip, protocol 2": (lambda net: net, {"pickle_protocol": 2}),
    "whole module, zip, protocol 5": (lambda net: {"model": net, "epoch": 3}, {"pickle_protocol": 5}),
}

BENIGN = tuple(itertools.product(_NETWORKS, _SAVED))


def benign_pickles(server: ForkServer, folder: Path, cases: Iterable[tuple[str, str]]) -> Iterator[tuple[str, Answer]]:
    """Read the first network of each of torchvision's families in every form; "different" is one with other weights."""
    path = folder / "checkpoint.pth"
    for network, group in itertools.groupby(cases, key=lambda case: case[0]):
        net = _network(network)
        expected = digest(net.state_dict())
        for _, form in group:
            wrap, options = _SAVED[form]
            torch.save(wrap(net), path, **options)
            answer = server.call("read", path)
            is_other = answer.outcome == "read" and answer.detail != expected
            yield f"{network}, {form}", Answer("different", "") if is_other else answer


def _network(name: str) -> nn.Module:
    """With numbers that tell its tensors apart, which is faster than weights."""
    net = empty_torchvision(name, {}).to_empty(device="cpu")
    for number, tensor in enumerate(net.state_dict().values()):
        tensor.fill_(number)
    return net.eval()
