"""The pickles that torch.save and torch.jit.save write are described; what else pickle can do is refused."""

from __future__ import annotations

import io
import pickle
from argparse import Namespace
from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import nn

from vgg_models.checkpoint import unpickling
from vgg_models.checkpoint.descriptions import ObjectDescription, Placeholder, StorageDescription
from vgg_models.checkpoint.unpickling import describe_pickle
from vgg_runtime.errors import CheckpointError, UnsafeCheckpointError

VALUES = {
    "numbers": [0, 255, 65_535, -(2**31), 2**62, 1.5, True, False, None],
    "text": ("", "a" * 300, "größe"),
    "tuples": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)],
    "lists": [[], [1], [1, [2]]],
    "ordered": OrderedDict(b=1, a=2),
    3: {"x": [{}], ("a", 2): None},
}


def described(content: bytes) -> Any:
    return describe_pickle(io.BytesIO(content), "x.pth").content


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_values_are_those_that_were_pickled(protocol: int) -> None:
    assert described(pickle.dumps(VALUES, protocol)) == VALUES


@pytest.mark.parametrize("value", [b"12", b"1" * 300, set(), {1, ("a", 2)}])
def test_bytes_and_sets_are_those_that_were_pickled(value: object) -> None:
    assert described(pickle.dumps(value, 4)) == value


def test_what_is_shared_is_shared_again() -> None:
    first, second = described(pickle.dumps([shared := ["a"], shared], 2))
    assert first is second


def test_names_of_python_2_are_those_of_today() -> None:
    assert described(b"\x80\x02c__builtin__\nset\n]K\x01a\x85R.") == {1}


def test_an_object_is_described_with_its_state() -> None:
    net = described(b"\x80\x02cmine\nNet\n)\x81}X\x01\0\0\0aK\x01sb.")
    assert isinstance(net, ObjectDescription)
    assert (net.name, net.state) == ("mine.Net", {"a": 1})


def test_a_value_that_is_not_needed_is_not_kept() -> None:
    options = described(pickle.dumps(Namespace(lr=0.1), 2))
    assert isinstance(options, Placeholder)
    assert (type(options).__name__, vars(options)) == ("Namespace", {})


def test_several_pickles_follow_one_another() -> None:
    file = io.BytesIO(pickle.dumps(1, 2) + pickle.dumps("two", 2))
    assert [describe_pickle(file, "x.pth").content for _ in range(2)] == [1, "two"]


_STORAGE = b"X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x02"


def test_a_storage_is_described_and_listed() -> None:
    description = describe_pickle(io.BytesIO(b"\x80\x02(" + _STORAGE + b"tQ."), "x.pth")
    assert description.content == StorageDescription("0", torch.float32, "cpu", 2)
    assert description.storages == {"0": description.content}


@pytest.mark.parametrize(
    ("pickled", "reason"),
    [
        (b"(" + _STORAGE + b"NtQ.", None),
        (b"(" + _STORAGE + b"K\x01tQ.", "has a view of a storage"),
        (b"(" + _STORAGE + b"tQ(" + _STORAGE[:-1] + b"\x03tQ\x86.", "describes the storage 0 in two ways"),
        (b"(X\x06\0\0\0moduleNNNtQ.", "is a whole module in the container of torch 1.5"),
        (b"(X\x05\0\0\0otherNNNNtQ.", "refers to something outside the file"),
        (b"(X\x07\0\0\0storageNNNNNNtQ.", "describes a storage by more than torch does"),
    ],
    ids=["no view", "view", "two ways", "module", "other", "more"],
)
def test_a_reference_is_one_to_a_whole_storage(pickled: bytes, reason: str | None) -> None:
    if reason is None:
        assert described(b"\x80\x02" + pickled).numel == 2
    else:
        with pytest.raises(CheckpointError, match=reason):
            described(b"\x80\x02" + pickled)


@pytest.mark.parametrize(
    ("pickled", "reason"),
    [
        (b"(cos\nsystem\no.", r"names (os|posix)\.system, which could run code"),
        (b"(ios\nsystem\n.", "has the pickle opcode INST"),
        (b"\x82\x01.", "has the pickle opcode EXT1"),
        (b"X\x01\0\0\0aP0\n.", "has the pickle opcode PERSID"),
        (b")K\x01a.", "appends to a tuple"),
        (b"cmine\nNet\n)\x81K\x01a.", r"appends to a mine\.Net"),
        (b")(K\x01K\x02e.", "appends to a tuple"),
        (b"]K\x01K\x02s.", "sets items of a list"),
        (b"cmine\nNet\n)\x81K\x01K\x02s.", r"sets items of a mine\.Net"),
        (b"}K\x01b.", "sets the state of a dict"),
        (b"cmine\nNet\n)\x81}b}b.", r"sets the state of a mine\.Net"),
        (b"cmine\nNet\nK\x01\x85\x81.", r"calls mine\.Net"),
        (b"cmine\nNet\n)R.", r"calls mine\.Net"),
        (b"ccollections\nOrderedDict\n)\x81K\x01a.", "appends to a OrderedDict"),
        (b"K\x01X\x01\0\0\0a\x93.", "names something by what is not text"),
        (b"X\x01\0\0\0aK\x01\x93.", "names something by what is not text"),
    ],
)
def test_what_could_do_more_than_describe_is_refused(pickled: bytes, reason: str) -> None:
    with pytest.raises(UnsafeCheckpointError, match=reason):
        described(b"\x80\x04" + pickled)


@pytest.mark.parametrize("pickled", [b"K\x01K\x02.", b".", b"K\x01\x86.", b"h\x07.", b"K\x01a."])
def test_a_pickle_that_does_not_add_up_gives_nothing(pickled: bytes) -> None:
    with pytest.raises((ValueError, IndexError, KeyError)):
        described(b"\x80\x02" + pickled)


def test_so_many_values_are_read_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpickling, "MAX_VALUES", 5)
    assert described(b"\x80\x02]K\x01q\0a.") == [1]
    with pytest.raises(CheckpointError, match=r"x\.pth describes more than 5 values"):
        described(b"\x80\x02]K\x01aK\x02a.")


def test_a_layer_is_an_object_of_its_class() -> None:
    layer = described(pickle.dumps(nn.ReLU(), 2))
    assert layer.name == "torch.nn.modules.activation.ReLU"
    assert layer.state["training"] is True
