from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from vgg_runtime.bundle import onnx_file
from vgg_runtime.bundle.onnx_file import read_onnx_contents

MIB = 2**20
FIELD_14, GROUP = b"\x72", b"\x9b\x06"

GRAPH, NODE, OP_TYPE, DOMAIN = 7, 1, 4, 7


def field(number: int, value: bytes | str) -> bytes:
    """A field with a length, as protobuf writes it: of a number up to 15, with two bytes for the length."""
    content = value.encode() if isinstance(value, str) else value
    return bytes([number << 3 | 2, len(content) & 0x7F | 0x80, len(content) >> 7]) + content


@pytest.fixture
def model(tmp_path: Path, write_model: Callable[..., None]) -> Path:
    write_model(tmp_path / "model.onnx", metadata={"vgg_deploy.json": '{"réd": 1}', "author": "", "": "x" * 300})
    return tmp_path / "model.onnx"


def appended(model: Path, ending: bytes) -> Path:
    with model.open("ab") as file:
        file.write(ending)
    return model


def test_metadata_is_what_onnx_reads(model: Path) -> None:
    expected = {entry.key: entry.value for entry in onnx.load(model).metadata_props}
    assert read_onnx_contents(model, max_metadata_bytes=MIB).metadata == expected
    assert len(expected) == 3


def test_a_model_without_metadata_has_none(tmp_path: Path, write_model: Callable[..., None]) -> None:
    write_model(tmp_path / "bare.onnx")
    assert read_onnx_contents(tmp_path / "bare.onnx", max_metadata_bytes=MIB).metadata == {}


def test_metadata_beyond_the_limit_is_refused(model: Path) -> None:
    with pytest.raises(ValueError, match="its metadata is larger than 100 bytes"):
        read_onnx_contents(model, max_metadata_bytes=100)


def test_operators_are_those_of_the_graph_by_domain(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"], domain="ai.onnx"),
        helper.make_node("MatMulNBits", ["b"], ["c"], domain="com.microsoft"),
        helper.make_node("Own", ["c"], ["y"], domain="here"),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    own = helper.make_function("here", "Own", ["x"], ["y"], [helper.make_node("Exp", ["x"], ["y"])], [])
    weight = helper.make_tensor("w", TensorProto.FLOAT, [3 * MIB // 4], bytes(3 * MIB), raw=True)
    graph = helper.make_graph(nodes, "graph", values[:1], values[1:], [weight])
    onnx.save(helper.make_model(graph, functions=[own]), tmp_path / "model.onnx")
    contents = read_onnx_contents(tmp_path / "model.onnx", max_metadata_bytes=MIB)
    assert contents.operators == {"Relu", "com.microsoft::MatMulNBits", "here::Own"}
    assert contents.functions == {"here::Own"}


def test_operators_of_a_second_graph_field_count_too(model: Path) -> None:
    # Parsers join what stands in several fields of one message.
    second = field(GRAPH, field(NODE, field(OP_TYPE, "Relu") + field(OP_TYPE, "Loop") + field(DOMAIN, "x")))
    first = read_onnx_contents(model, max_metadata_bytes=MIB).operators
    assert read_onnx_contents(appended(model, second), max_metadata_bytes=MIB).operators == first | {"x::Loop"}


@pytest.mark.parametrize(
    ("ending", "reason"),
    [
        (FIELD_14, "in the middle of a number"),
        (FIELD_14 + b"\x05abc", "in the middle of a field"),
        (FIELD_14 + b"\x04\x0a\x03ab", "in the middle of a field"),
        (FIELD_14 + b"\x03\x0a\x00\x09", "in the middle of a field"),
        (FIELD_14 + b"\xff" * 11, "more than 64 bits"),
        (b"\x77", "unknown type 7"),
        (GROUP, "unknown type 3"),
        (FIELD_14 + b"\x04\x0a\x02\xff\xff", "invalid start byte"),
        # Field 7, the graph, to readers that keep 32 bits of it.
        (b"\xba\x80\x80\x80\x10\x00", "a field whose number is too large"),
    ],
)
def test_what_is_no_onnx_file_is_refused(model: Path, ending: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read_onnx_contents(appended(model, ending), max_metadata_bytes=MIB)


@pytest.mark.parametrize(("content", "reason"), [(b"", "it is empty"), (b"\x08\x0a", "it has no graph")])
def test_file_without_a_graph_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(ValueError, match=reason):
        read_onnx_contents(tmp_path / "model.onnx", max_metadata_bytes=MIB)


def test_fields_are_counted_over_all_messages(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = b"".join(field(NODE, field(OP_TYPE, "Relu") * 5) for _ in range(20))
    appended(model, field(GRAPH, nodes))
    read_onnx_contents(model, max_metadata_bytes=MIB)
    monkeypatch.setattr(onnx_file, "_MAX_FIELDS", 100)
    with pytest.raises(ValueError, match="more than 100 fields"):
        read_onnx_contents(model, max_metadata_bytes=MIB)


def test_metadata_behind_fields_of_other_kinds_is_found(model: Path) -> None:
    fixed = b"\xa1\x06" + b"\xff" * 8 + b"\xa5\x06" + b"\xff" * 4
    appended(model, fixed + FIELD_14 + b"\x06\x0a\x01k\x12\x01v")
    assert read_onnx_contents(model, max_metadata_bytes=MIB).metadata["k"] == "v"
