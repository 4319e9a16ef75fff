"""Small checkpoints that ask for very much time or memory, one function per kind."""

from __future__ import annotations

import os
import struct
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import torch
from fork_server import Answer, ForkServer
from torch import nn

__all__ = ["KINDS", "denials_of_service"]

_ONES = torch.ones(2)


class _Call:
    """Pickles as a call of ``function(*arguments)``."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


def _nested(wrap: Callable[[Any], object], levels: int, inner: object = None) -> object:
    for _ in range(levels):
        inner = wrap(inner)
    return inner


def _beside(key: str) -> Callable[[object], object]:
    return lambda inner: {"t": _ONES, key: inner or {"weight": _ONES}}


def _layer_with(layer: nn.Module, **attributes: object) -> nn.Module:
    for name, value in attributes.items():
        setattr(layer, name, value)
    return nn.Sequential(layer, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 2))


def _many_buffers() -> nn.Module:
    layer = nn.ReLU()
    for number in range(5000):
        layer.register_buffer(f"b{number}", _ONES)
    return nn.Sequential(*[layer] * 1000)


def _views() -> dict[str, object]:
    storage = torch.ones(100_000, dtype=torch.float16)
    return {f"{start}.weight": storage[start:] for start in range(2000)}


def _recurrent() -> nn.Module:
    layer = nn.LSTM(2, 2)
    layer.num_layers, layer._all_weights = _HUGE, [[1]]
    return layer


def _keys(count: int, name: str) -> dict[str, object]:
    return {name.format(number): _ONES for number in range(count)}


_SHARED = ["x" * 100_000]
_HUGE = 10**9

# What torch.save writes.
_SAVED: dict[str, Callable[[], object]] = {
    "dicts with weights at every level": lambda: _nested(_beside("state_dict"), 40),
    "averages at every level": lambda: _nested(_beside("ema"), 40),
    "dicts under unknown keys": lambda: _nested(_beside("other"), 40),
    "layers twice in layers": lambda: _nested(lambda layer: nn.Sequential(layer, layer), 30, nn.ReLU()),
    "lists twice in lists": lambda: {"weight": _ONES, "x": _nested(lambda inner: [inner, inner], 60)},
    "tuples twice in tuples": lambda: {"weight": _ONES, "x": _nested(lambda inner: (inner, inner), 60)},
    "dicts twice in dicts": lambda: {"weight": _ONES, "x": _nested(lambda inner: {"a": inner, "b": inner}, 60)},
    "lists twice in lists, as a size": lambda: {"w": _ONES, "img_size": _nested(lambda inner: [inner, inner], 60)},
    "lists twice in lists, as labels": lambda: {"w": _ONES, "classes": _nested(lambda inner: [inner, inner], 60)},
    "long text a thousand times, as a size": lambda: {"model": {"w": _ONES}, "img_size": _SHARED * 10_000},
    "long text a thousand times, as labels": lambda: {"model": {"w": _ONES}, "classes": _SHARED * 10_000},
    "long text in many dicts": lambda: {"model": {"w": _ONES}, "x": {str(i): {"arch": _SHARED[0]} for i in range(999)}},
    "deep lists": lambda: {"weight": _ONES, "x": _nested(lambda inner: [inner], 180)},
    "deep layers": lambda: _nested(nn.Sequential, 60, nn.ReLU()),
    "many prefixes": lambda: {"a." * 20_000 + "weight": _ONES},
    "a long key": lambda: {"k" * 1_000_000: _ONES},
    "many keys of Linear layers": lambda: _keys(60_000, "layers.{}.weight"),
    "many keys in a row": lambda: _keys(9_000, "{}.weight"),
    "many keys with long names": lambda: _keys(9_000, "a" * 900 + "{}.weight"),
    "a bytearray by its length": lambda: {"weight": _ONES, "x": _Call(bytearray, 8 * _HUGE)},
    "a set of a shared list": lambda: {"weight": _ONES, "x": [_Call(set, list(range(300)))] * 5000},
    "a layer by a call": lambda: {"weight": _ONES, "x": _Call(nn.Linear, _HUGE, _HUGE)},
    "text by a product": lambda: {"weight": _ONES, "x": _Call(str.__mul__, "x", _HUGE)},
    "zeros by a call": lambda: {"weight": _ONES, "x": _Call(torch.zeros, 8 * _HUGE)},
    "a range as a list": lambda: {"weight": _ONES, "x": _Call(list, range(_HUGE))},
    "an expanded tensor": lambda: {"0.weight": torch.ones(1, 1).expand(40_000, 40_000)},
    "an expanded half tensor": lambda: {"0.weight": torch.ones(1, 1).half().expand(40_000, 40_000)},
    "overlapping windows": lambda: {"0.weight": torch.ones(100_000).as_strided((50_000, 50_000), (1, 1))},
    "many overlapping views": _views,
    "a row of many convolutions": lambda: {
        **{f"features.{2 * number}.weight": torch.ones(1, 1, 3, 3) for number in range(1000)},
        "classifier.0.weight": torch.ones(2, 49),
    },
    "half layers many times": lambda: nn.Sequential(*[nn.Linear(500, 500).half()] * 5000),
    "a layer of many buffers many times": _many_buffers,
    "a kernel of impossible size": lambda: _layer_with(nn.Conv2d(1, 1, 3), padding=(_HUGE, _HUGE)),
    "a large padding": lambda: _layer_with(nn.Conv2d(1, 1, 3), padding=(14_000, 14_000)),
    "zeros around the image": lambda: _layer_with(nn.ZeroPad2d(1), padding=(20_000,) * 4),
    "a large adaptive pool": lambda: _layer_with(nn.AdaptiveAvgPool2d(1), output_size=(40_000, 40_000)),
    "a large upsampling": lambda: _layer_with(nn.Upsample(scale_factor=2), scale_factor=5000.0),
    "a recurrent layer of many layers": _recurrent,
    "the weights a million times in a list": lambda: {"weight": _ONES, "x": [_ONES] * 400_000},
    "many numbers": lambda: {"weight": _ONES, "x": [0.5] * 999_000},
    "many empty sets": lambda: {"weight": _ONES, "x": [set() for _ in range(200_000)]},
    "many objects": lambda: nn.ModuleList([nn.ReLU() for _ in range(5000)]),
}


_NUMBERS = Random(0)  # noqa: S311 - repeatable
_PAIRS = b"".join(b"h\x00h\x00\x86q\x00" for _ in range(40))
_LISTS = b"]q\x00" + b"".join(b"](h\x00h\x00eq\x00" for _ in range(40))
_TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n"
_STORAGE = b"((X\x07\0\0\0storagectorch\nFloatStorage\n%bX\x03\0\0\0cpu%btQ"

# Pickles that only a hand writes.
_PICKLES: dict[str, bytes] = {
    "a key of tuples twice in tuples": b"}" + b")q\x00" + _PAIRS + b"Ns.",
    "a member of tuples twice in tuples": b"\x8f()q\x00" + _PAIRS + b"\x90.",
    "a key of deep tuples": b"})" + b"\x85" * 300_000 + b"Ns.",
    "a name of lists twice in lists": _LISTS + b"h\x00\x93.",
    "a storage key of lists twice in lists": _LISTS + _STORAGE % (b"h\x00", b"K\x02") + b".",
    "a call of many arguments, many times": (
        b"ctorch._utils\n_rebuild_sparse_tensor\nq\x01((" + b"N" * 400_000 + b"tq\x02" + b"h\x01h\x02R" * 50_000 + b"."
    ),
    "a shape of many sides": (
        _TENSOR + b"(" + _STORAGE % (b"X\x01\0\0\x000", b"K\x02") + b"K\0(" + b"M\xff\xff" * 300_000 + b"tq\0h\0NNtR."
    ),
    "many marks": b"(" * 900_000 + b".",
    "many memos": b"N" + b"".join(b"r" + struct.pack("<I", number) for number in range(600_000)) + b".",
    "a memo of a far index": b"Nr\xff\xff\xff\xff.",
    "text of impossible length": b"\x8d" + struct.pack("<Q", 1 << 62) + b"x.",
    "bytes of impossible length": b"\x8e" + struct.pack("<Q", 1 << 40) + b"x.",
    "a large number": b"\x8b" + struct.pack("<i", 2**30) + b"\xff.",
    "a number in decimals": b"I" + b"9" * 1_000_000 + b"\n.",
    "large numbers as keys": b"}("
    + b"".join(b"\x8a\x10" + _NUMBERS.randbytes(16) + b"N" for _ in range(50_000))
    + b"u.",
    "one more than may be": b"}" + b"(" + b"N" * 1_100_000 + b".",
    "calls within calls": b"ctorch._tensor\n_rebuild_from_type_v2\nq\x01" + b"(h\x01N(" * 50_000 + b".",
}


def _safetensors(header: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header


# Whole files.
_FILES: dict[str, bytes] = {
    "safetensors with a deep header": _safetensors(b'{"a":' + b"[" * 1_000_000),
    "safetensors with a large header": _safetensors(b'{"a":"' + b"x" * 20_000_000 + b'"}'),
    "safetensors with a header of impossible length": struct.pack("<Q", 1 << 62) + b"{",
    "safetensors of impossible shape": _safetensors(
        b'{"w":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}'
    ),
    "safetensors with a deep text": _safetensors(b'{"__metadata__":{"mean":"' + b"[" * 1_000_000 + b'"}}'),
    "legacy with text of impossible length": (
        b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02\x8d" + struct.pack("<Q", 1 << 62) + b"x."
    ),
}


@contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """An archive that says the version of torch's format, without which nothing else of it is read."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/version", b"3")
        yield archive


def _torchscript_bomb(path: Path) -> None:
    with _archive(path) as archive:
        archive.writestr("a/constants.pkl", b"\x80\x02).")
        archive.writestr("a/data.pkl", b"\x80\x02c__torch__.m\nNet\n)\x81}(X\x01\0\0\0wNub.")
        archive.writestr("a/code/__torch__/m.py", b" " * 200_000_000, zipfile.ZIP_DEFLATED)


def _many_entries(path: Path) -> None:
    with _archive(path) as archive:
        archive.writestr("a/data.pkl", b"\x80\x02}.")
        for number in range(20_000):
            archive.writestr(f"a/data/{number}", b"")


def _deflated_bomb(path: Path) -> None:
    with _archive(path) as archive:
        archive.writestr("a/data.pkl", b"\x80\x02}." + bytes(500_000_000), zipfile.ZIP_DEFLATED)


_SPECIAL: dict[str, Callable[[Path], None]] = {
    "a named pipe": os.mkfifo,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a link to itself": lambda path: path.symlink_to(path),
    "code that grows": _torchscript_bomb,
    "a pickle that grows": _deflated_bomb,
    "many entries": _many_entries,
}

KINDS = (*_SAVED, *_PICKLES, *_FILES, *_SPECIAL)


def denials_of_service(server: ForkServer, folder: Path, kinds: Iterable[str]) -> Iterator[tuple[str, Answer]]:
    """Load one checkpoint of each kind, as ``vgg-export`` does."""
    path = folder / "checkpoint.pth"
    for kind in kinds:
        _write(kind, path)
        yield kind, server.call("load", path)
        path.unlink()


def _write(kind: str, path: Path) -> None:
    if kind in _SAVED:
        torch.save(_SAVED[kind](), path)
    elif kind in _PICKLES:
        with _archive(path) as archive:
            archive.writestr("a/data.pkl", b"\x80\x02" + _PICKLES[kind])
    elif kind in _FILES:
        path.write_bytes(_FILES[kind])
    else:
        _SPECIAL[kind](path)
