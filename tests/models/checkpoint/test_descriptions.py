"""What a description may say, to the number: of tensors in their storages, of names, and of how much there is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError
from typing import Any

import pytest
import torch

from vgg_models.checkpoint import descriptions
from vgg_models.checkpoint.descriptions import (
    ClassDescription,
    ObjectDescription,
    StorageDescription,
    TensorDescription,
    check_extent,
)
from vgg_models.checkpoint.pickled_names import checked_key, describe_name, set_of
from vgg_runtime.errors import CheckpointError, UnsafeCheckpointError

STORAGE = StorageDescription("0", torch.float32, "cpu", 12)


def tensor(offset: Any, shape: tuple[Any, ...], strides: tuple[Any, ...]) -> TensorDescription:
    return TensorDescription(STORAGE, torch.float32, offset, shape, strides)


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [
        (0, (3, 4), (4, 1)),
        (0, (4, 3), (1, 4)),
        (11, (), ()),
        (0, (2, 2), (10, 1)),
        (4, (2, 4), (4, 1)),
        (12, (0,), (1,)),
        (0, (5, 0), (1, 1)),
    ],
    ids=["whole", "transposed", "last number", "with gaps", "last rows", "nothing at the end", "nothing"],
)
def test_tensor_may_reach_to_the_end_of_its_storage(
    offset: int, shape: tuple[int, ...], strides: tuple[int, ...]
) -> None:
    description = tensor(offset, shape, strides)
    in_torch = torch.arange(12.0).as_strided(shape, strides, offset)  # torch accepts it too
    assert description.shape == tuple(in_torch.shape)


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [
        (1, (3, 4), (4, 1)),
        (0, (3, 5), (4, 1)),
        (0, (4, 4), (4, 1)),
        (0, (3, 4), (5, 1)),
        (12, (), ()),
        (13, (0,), (1,)),
        (0, (13,), (0,)),
    ],
    ids=["offset", "width", "height", "stride", "one number", "nothing behind the end", "repeated"],
)
def test_tensor_beyond_its_storage_is_refused(offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> None:
    with pytest.raises(CheckpointError, match="its storage 0 has 12 numbers"):
        tensor(offset, shape, strides)


def test_a_storage_has_fewer_numbers_of_a_wider_type() -> None:
    assert STORAGE.nbytes == 48
    TensorDescription(STORAGE, torch.float64, 0, (6,), (1,))
    with pytest.raises(CheckpointError, match="has 6 numbers"):
        TensorDescription(STORAGE, torch.float64, 0, (7,), (1,))


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [
        (-1, (1,), (1,)),
        (0, (-1,), (1,)),
        (0, (2,), (-1,)),
        (True, (1,), (1,)),
        (0, (1.0,), (1,)),
        (0, ("1",), (1,)),
        (0, (1, 1), (1,)),
        (0, (1,) * 65, (1,) * 65),
        (2**63, (0,), (1,)),
    ],
)
def test_numbers_that_no_tensor_has_are_refused(offset: Any, shape: tuple[Any, ...], strides: tuple[Any, ...]) -> None:
    with pytest.raises(CheckpointError, match="a shape, strides or offset that no tensor has"):
        tensor(offset, shape, strides)


def test_a_tensor_has_64_dimensions_at_most() -> None:
    assert len(tensor(0, (1,) * 64, (1,) * 64).shape) == 64


@pytest.mark.parametrize(
    ("key", "location", "numel"),
    [(1, "cpu", 1), ("0", None, 1), ("0", "cpu", -1), ("0", "cpu", 1.5), ("0" * 1001, "cpu", 1), ("0", "c" * 1001, 1)],
)
def test_a_storage_has_a_name_a_device_and_a_length(key: Any, location: Any, numel: Any) -> None:
    with pytest.raises(CheckpointError, match="no legible name, device and length"):
        StorageDescription(key, torch.float32, location, numel)


def test_the_longest_name_and_the_largest_length_are_read() -> None:
    assert StorageDescription("0" * 1000, torch.uint8, "c" * 1000, 2**63 - 1).nbytes == 2**63 - 1


@pytest.mark.parametrize("described", [STORAGE, tensor(0, (1,), (1,)), ClassDescription("a.B")])
def test_descriptions_do_not_change(described: object) -> None:
    with pytest.raises(FrozenInstanceError):
        described.name = "another"  # type: ignore[attr-defined]


def test_a_class_is_not_called_without_a_meaning() -> None:
    with pytest.raises(UnsafeCheckpointError, match=r"calls a\.B"):
        ClassDescription("a.B").called(())


def test_a_call_has_100_arguments_at_most() -> None:
    named = ClassDescription("a.b", lambda *arguments: len(arguments))
    assert named.called((None,) * 100) == 100
    with pytest.raises(UnsafeCheckpointError, match=r"calls a\.b"):
        named.called((None,) * 101)


def nested(depth: int, around: Callable[[object], object]) -> object:
    content: object = None
    for _ in range(depth):
        content = around(content)
    return content


@pytest.mark.parametrize(
    "around",
    [
        lambda inner: [inner],
        lambda inner: (inner,),
        lambda inner: {1: inner},
        lambda inner: ObjectDescription("A", inner),
    ],
    ids=["lists", "tuples", "dicts", "objects"],
)
def test_what_is_150_deep_is_read_and_no_deeper(around: Callable[[object], object]) -> None:
    check_extent(nested(150, around))
    with pytest.raises(CheckpointError, match="nested more than 150 deep"):
        check_extent(nested(151, around))


@pytest.mark.parametrize(
    ("values", "content"),
    [
        (4, [1, None, 2.5]),
        (3, ({1},)),
        (5, {"a": 1, "b": 2}),
        (101, ObjectDescription("A", None)),
        (3, ["x" * 100]),
        (3, [b"x" * 199]),
        (4, [bytearray(200)]),
        (5, [[], [], [], []]),
        (7, [shared := [1, 2], shared]),
    ],
    ids=["list", "set", "dict", "object", "text", "bytes", "longer bytes", "empty lists", "shared"],
)
def test_values_are_counted_as_often_as_they_are_reached(
    monkeypatch: pytest.MonkeyPatch, values: int, content: object
) -> None:
    monkeypatch.setattr(descriptions, "MAX_VALUES", values)
    check_extent(content)
    monkeypatch.setattr(descriptions, "MAX_VALUES", values - 1)
    with pytest.raises(CheckpointError, match=f"more than {values - 1} values"):
        check_extent(content)


@pytest.mark.parametrize(
    "key",
    ["k" * 1000, b"k" * 1000, 2**64 - 1, -(2**64) + 1, 1.5, None, True, (), tuple(range(10))],
)
def test_a_short_plain_key_is_read(key: object) -> None:
    assert checked_key(key) == key


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("k" * 1001, "at most 1000 are read"),
        (b"k" * 1001, "at most 1000 are read"),
        (2**64, "an integer of more than 64 bits"),
        (-(2**64), "an integer of more than 64 bits"),
        (tuple(range(11)), "a tuple as a key"),
        ((1, ()), "a tuple as a key"),
        (("k" * 1001,), "at most 1000 are read"),
        (ClassDescription("a.B"), "a ClassDescription as a key"),
        (frozenset(), "a frozenset as a key"),
    ],
)
def test_a_key_that_takes_long_to_hash_or_to_show_is_refused(key: object, reason: str) -> None:
    with pytest.raises(CheckpointError, match=reason):
        checked_key(key)


def test_members_of_sets_are_keys_and_are_moved() -> None:
    members = [1, 2, 2]
    assert set_of(members) == {1, 2}
    assert members == []
    assert set_of() == set()
    with pytest.raises(CheckpointError, match="a tuple as a key"):
        set_of([((),)])


@pytest.mark.parametrize("name", ["os.system", "torch.load", "numpy.load", "builtins.eval", "torch.nn.functional.relu"])
def test_a_name_outside_the_tables_describes_nothing(name: str) -> None:
    assert describe_name(name) is None


@pytest.mark.parametrize(
    ("name", "has_instances"),
    [
        ("mine.Net", True),
        ("torch.nn.modules.linear.Linear", True),
        ("torch.nn.parallel.data_parallel.DataParallel", True),
        ("torch.FloatStorage", False),
        ("torch.Tensor", False),
        ("collections.OrderedDict", False),
    ],
)
def test_only_layers_and_the_users_own_have_instances(name: str, has_instances: bool) -> None:
    described = describe_name(name)
    assert isinstance(described, ClassDescription)
    assert described.has_instances is has_instances


def test_dtypes_and_schemes_are_values() -> None:
    assert describe_name("torch.float16") is torch.float16
    assert describe_name("torch.per_tensor_affine") is torch.per_tensor_affine
