from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from vgg_runtime._internal.json_codec import MismatchError, from_json, to_json


@dataclass(frozen=True)
class Leaf:
    size: int

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ValueError("size is negative")


@dataclass(frozen=True)
class Tree:
    name: str
    kind: Literal["oak", "elm"] = "oak"
    height: float | None = None
    span: int | tuple[int, int] = 1
    leaves: tuple[Leaf, ...] = ()
    best: Leaf | None = None
    notes: dict[str, str] = field(default_factory=dict)
    alive: bool = True


FULL = Tree("a", "elm", 2.5, (3, 4), (Leaf(1), Leaf(2)), Leaf(3), {"k": "v"}, False)


@pytest.mark.parametrize("tree", [FULL, Tree("bare")])
def test_json_brings_back_the_same(tree: Tree) -> None:
    assert from_json(Tree, json.loads(json.dumps(to_json(tree)))) == tree


def test_a_whole_number_does_for_a_float() -> None:
    height = from_json(Tree, {"name": "a", "height": 3}).height
    assert (height, type(height)) == (3.0, float)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], r"the document is \[\], not a JSON object"),
        ({}, "the document lacks the fields: name"),
        ({"name": "a", "nmae": 1, "also": 2}, "unknown fields: also, nmae"),
        ({"name": 1}, "name is 1, not str"),
        ({"name": None}, "name is None, not str"),
        ({"name": "a", "kind": "fir"}, "kind is 'fir', not one of 'oak', 'elm'"),
        ({"name": "a", "kind": []}, "kind is"),
        ({"name": "a", "height": "3"}, "height is '3', not float or null"),
        ({"name": "a", "height": True}, "height is True"),
        ({"name": "a", "height": float("nan")}, "height is nan"),
        ({"name": "a", "height": float("inf")}, "height is inf"),
        ({"name": "a", "height": 10**400}, "height is 1000"),
        ({"name": "a", "span": True}, "span is True"),
        ({"name": "a", "span": 2**63}, "span is 9223372036854775808"),
        ({"name": "a", "span": 1.0}, "span is 1.0"),
        ({"name": "a", "span": [1, 2, 3]}, r"span is \[1, 2, 3\]"),
        ({"name": "a", "span": "12"}, "span is '12'"),
        ({"name": "a", "leaves": "no"}, "leaves is 'no', not a list"),
        ({"name": "a", "leaves": [{"size": 1}, {"size": "2"}]}, r"leaves\[1\].size is '2', not int"),
        ({"name": "a", "leaves": [{"size": -1}]}, r"leaves\[0\]: size is negative"),
        ({"name": "a", "best": {"size": -1}}, "best: size is negative"),
        ({"name": "a", "best": {}}, "best lacks the fields: size"),
        ({"name": "a", "notes": []}, r"notes is \[\]"),
        ({"name": "a", "notes": {"k": 1}}, r"notes\['k'\] is 1, not str"),
        ({"name": "a", "alive": 1}, "alive is 1, not bool"),
    ],
)
def test_a_mismatch_says_where_and_what(data: Any, message: str) -> None:
    with pytest.raises(MismatchError, match=message):
        from_json(Tree, data)


def test_a_long_value_is_not_shown_whole() -> None:
    with pytest.raises(MismatchError) as caught:
        from_json(Tree, {"name": list(range(10_000))})
    assert len(str(caught.value)) < 120


def test_message_about_many_or_long_names_is_cut() -> None:
    with pytest.raises(MismatchError, match=r"unknown fields: 0000, .*, 0009, and 990 more$"):
        from_json(Tree, {"name": "a", **{f"{i:04}": i for i in range(1000)}})
    for data in ({"name": "a", "x" * 10**6: 1}, {"name": "a", "notes": {"x" * 10**6: 1}}):
        with pytest.raises(MismatchError) as mismatch:
            from_json(Tree, data)
        assert len(str(mismatch.value)) < 300
