"""Networks in the formats of other tools, recognised by their content; these are not PyTorch checkpoints.

ONNX, TensorFlow and Core ML write protobuf, which has no magic bytes, so they are told apart by the numbers of the
fields. Fields are skipped from one to the next without being read, so that large files take no longer.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

__all__ = ["EXPORT_HINT", "OtherFormat", "recognise_other_format"]

EXPORT_HINT = "Give the PyTorch checkpoint that it was made from."
_ONNX_HINT = (
    "To get a bundle, give the PyTorch checkpoint that it was made from. To measure this file beside a bundle: "
    "vgg-bench BUNDLE --also NAME={path}. If vgg-export wrote it, vgg-run predict {path} IMAGE runs it."
)

# Offset, the bytes there, and a name for the file.
_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (4, b"TFL3", "a TensorFlow Lite model"),
    (0, b"ftrt", "a TensorRT engine"),
    (0, b"ptrt", "a TensorRT engine"),
)

_SHOWN = 4  # before version 4 of the format, weights were inputs too
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_FIELDS = 100_000  # per message; a graph has one field for each node and each initializer

# Fields of ModelProto and GraphProto in onnx.proto.
_MODEL_FIELDS = frozenset({*range(1, 9), 14, 20, 25, 26})
_IR_VERSION, _PRODUCER_NAME, _PRODUCER_VERSION, _GRAPH, _OPSET_IMPORT = 1, 2, 3, 7, 8
_GRAPH_NAME, _GRAPH_INPUT, _GRAPH_OUTPUT = 2, 11, 12
# Fields of Core ML's Model: specificationVersion, description, isUpdatable, modelParameters; the network itself has a
# number from 200 on.
_CORE_ML_FIELDS = frozenset({1, 2, 10, 100})
_CORE_ML_NETWORKS = range(200, 4000)
# Fields of TensorFlow's SavedModel: saved_model_schema_version, meta_graphs.
_SAVED_MODEL_FIELDS = {1, 2}


@dataclass(frozen=True)
class OtherFormat:
    """The name of a file's format, and what to do with such a file."""

    name: str
    hint: str


@dataclass(frozen=True)
class _Field:
    number: int
    start: int
    content: int
    end: int


def recognise_other_format(path: Path, head: bytes) -> OtherFormat | None:
    """Return the format of the file; None if it is unknown.

    Args:
        head: the first bytes of the file.
    """
    for offset, magic, name in _MAGIC:
        if head[offset:].startswith(magic):
            return OtherFormat(name, EXPORT_HINT)
    if head[:1] != b"\x08":  # field 1, a number: in all three the version of the format
        return None
    with path.open("rb") as file:
        try:
            fields = list(_fields(file, 0, os.fstat(file.fileno()).st_size))
        except ValueError:
            return None
        return _name_protobuf(path, file, fields)


def _name_protobuf(path: Path, file: IO[bytes], fields: list[_Field]) -> OtherFormat | None:
    numbers = {field.number for field in fields}
    if _GRAPH in numbers and numbers <= _MODEL_FIELDS:
        return OtherFormat(f"an ONNX model already{_describe_onnx(file, fields)}", _ONNX_HINT.format(path=path))
    if any(number in _CORE_ML_NETWORKS for number in numbers) and all(
        number in _CORE_ML_FIELDS or number in _CORE_ML_NETWORKS for number in numbers
    ):
        return OtherFormat("a Core ML model", EXPORT_HINT)
    return OtherFormat("a TensorFlow SavedModel", EXPORT_HINT) if numbers == _SAVED_MODEL_FIELDS else None


def _describe_onnx(file: IO[bytes], fields: list[_Field]) -> str:
    """Producer, opset, inputs and outputs, if onnx is installed and can read them.

    onnx gets the model without its nodes and weights, which may be large.
    """
    try:
        import onnx

        skeleton = onnx.ModelProto.FromString(_onnx_skeleton(file, fields))
    except Exception:  # not installed, or damaged in any way
        return ""
    opset = next((entry.version for entry in skeleton.opset_import if entry.domain in ("", "ai.onnx")), "unknown")
    producer = f"{skeleton.producer_name} {skeleton.producer_version}".strip() or "unknown"
    inputs, outputs = (
        ", ".join(map(_describe_value, values[:_SHOWN])) for values in (skeleton.graph.input, skeleton.graph.output)
    )
    return f" (producer {producer}; opset {opset}; inputs {inputs}; outputs {outputs})"


def _describe_value(value: object) -> str:
    tensor = value.type.tensor_type  # type: ignore[attr-defined]
    sizes = [size.dim_param or str(size.dim_value) for size in tensor.shape.dim]
    return f"{value.name} [{', '.join(sizes)}]"  # type: ignore[attr-defined]


def _onnx_skeleton(file: IO[bytes], fields: list[_Field]) -> bytes:
    """The descriptive fields of a ModelProto, and the name, the inputs and the outputs of its graph."""

    def read(field: _Field) -> bytes:
        file.seek(field.start)
        return file.read(min(field.end - field.start, 100_000))

    (graph,) = (field for field in fields if field.number == _GRAPH)
    about = (_IR_VERSION, _PRODUCER_NAME, _PRODUCER_VERSION, _OPSET_IMPORT)
    interface = [
        read(field)
        for field in _fields(file, graph.content, graph.end)
        if field.number in (_GRAPH_NAME, _GRAPH_INPUT, _GRAPH_OUTPUT)
    ]
    content = b"".join(interface)
    key = bytes([_GRAPH << 3 | _BYTES])
    return b"".join(read(field) for field in fields if field.number in about) + key + _varint(len(content)) + content


def _fields(file: IO[bytes], start: int, end: int) -> Iterator[_Field]:
    """Yield the fields of the protobuf message at that position (protobuf.dev, Encoding).

    Raises:
        ValueError: it is not a message.
    """
    position = start
    for _ in range(_MAX_FIELDS):
        if position == end:
            return
        file.seek(position)
        head = file.read(20)  # a key and a length, at most ten bytes each
        key, used = _read_varint(head)
        if key & 7 == _BYTES:
            length, more = _read_varint(head[used:])
            used += more
        elif key & 7 == _VARINT:
            length = _read_varint(head[used:])[1]
        elif key & 7 in (_FIXED32, _FIXED64):
            length = 4 if key & 7 == _FIXED32 else 8
        else:
            raise ValueError("no such type of field")
        field = _Field(key >> 3, position, position + used, position + used + length)
        if field.number == 0 or field.end > end:
            raise ValueError("the field is cut off")
        yield field
        position = field.end
    raise ValueError("too many fields")


def _read_varint(data: bytes) -> tuple[int, int]:
    """Return a number stored with seven bits per byte, lowest first, and its length in bytes."""
    value = 0
    for index, byte in enumerate(data[:10]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, index + 1
    raise ValueError("the number is cut off")


def _varint(value: int) -> bytes:
    encoded = b""
    while value >= 0x80:
        encoded += bytes([value & 0x7F | 0x80])
        value >>= 7
    return encoded + bytes([value])
