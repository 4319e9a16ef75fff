from __future__ import annotations

from collections import Counter

import onnx
import pytest

from vgg_runtime.bundle.onnx_file import OnnxContents
from vgg_runtime.bundle.operators import OPERATORS, refused_operators

NAMES = " ".join(OPERATORS.values()).split()
SUBGRAPHS = (onnx.defs.OpSchema.AttrType.GRAPH, onnx.defs.OpSchema.AttrType.GRAPHS)


def contents(*operators: str, functions: tuple[str, ...] = ()) -> OnnxContents:
    return OnnxContents({}, frozenset(operators), frozenset(functions))


def test_operators_of_the_table_are_of_onnx_and_listed_once() -> None:
    of_onnx = {schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == ""}
    assert set(NAMES) - of_onnx == {"com.microsoft::MatMulNBits"}
    assert [name for name, count in Counter(NAMES).items() if count > 1] == []


def test_no_operator_of_the_table_runs_a_subgraph() -> None:
    with_subgraph = {
        schema.name
        for schema in onnx.defs.get_all_schemas_with_history()
        if schema.domain == "" and any(attribute.type in SUBGRAPHS for attribute in schema.attributes.values())
    }
    assert with_subgraph >= {"Loop", "If", "Scan", "SequenceMap"}
    assert with_subgraph & set(NAMES) == set()


def test_operators_outside_the_table_are_refused_by_name() -> None:
    assert refused_operators(contents("Conv", "Scan", "Loop", "x::Conv", "")) == ["", "Loop", "Scan", "x::Conv"]
    assert refused_operators(contents("Conv", "com.microsoft::MatMulNBits")) == []


@pytest.mark.parametrize("name", ["here::Own", "Relu"])
def test_function_of_a_file_is_refused_whatever_its_name(name: str) -> None:
    assert refused_operators(contents("Conv", name, functions=(name,))) == [f"{name} (a function of its own)"]
