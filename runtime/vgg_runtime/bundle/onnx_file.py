"""What an ONNX file contains, read without an engine and without its weights.

An ONNX file is a protobuf message: fields one after the other, each a tag (number and wire type) and a value. Values
that matter here have their length in front, so all others, weights above all, are skipped in one step.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["OnnxContents", "read_onnx_contents"]

# Numbers of fields in onnx.proto, by message.
_GRAPH, _METADATA_PROPS, _FUNCTIONS = 7, 14, 25  # ModelProto
_NODE = 1  # GraphProto
_OP_TYPE, _OP_DOMAIN = 4, 7  # NodeProto
_FUNCTION_NAME, _FUNCTION_DOMAIN = 1, 10  # FunctionProto
_KEY, _VALUE = 1, 2  # StringStringEntryProto

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_FIXED_SIZES = {_FIXED64: 8, _FIXED32: 4}

# Some ten for each node; the largest networks have some thousand nodes.
_MAX_FIELDS = 1_000_000


@dataclass(frozen=True)
class OnnxContents:
    """What an ONNX file contains.

    Attributes:
        metadata: its entries, by key.
        operators: every kind of node in its graph, as "Conv", or "com.microsoft::MatMulNBits" outside ONNX's own
            domain. Nodes in subgraphs do not count, as only other operators (Loop, If, Scan, SequenceMap) run them.
        functions: operators that the file defines itself, written in the same way.
    """

    metadata: dict[str, str]
    operators: frozenset[str]
    functions: frozenset[str]


def read_onnx_contents(file: Path, *, max_metadata_bytes: int) -> OnnxContents:
    """Return what the ONNX file ``file`` contains.

    Raises:
        ValueError: its metadata is larger than ``max_metadata_bytes``, or this is no ONNX file.
        OSError: the file is unreadable.
    """
    with file.open("rb") as stream:
        if not os.fstat(stream.fileno()).st_size:
            raise ValueError("it is empty")
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:  # only what is looked at is read
            return _contents(data, max_metadata_bytes)


def _contents(data: mmap.mmap, max_metadata_bytes: int) -> OnnxContents:
    fields, metadata, metadata_bytes = _Fields(data), {}, 0
    nodes, functions = set(), set()
    for number, start, end in fields.between(0, len(data)):
        if number == _GRAPH:  # parsers join several
            for inner, node_start, node_end in fields.between(start, end):
                if inner == _NODE:
                    nodes.add(fields.values(node_start, node_end, _OP_DOMAIN, _OP_TYPE))
        elif number == _FUNCTIONS:
            functions.add(fields.values(start, end, _FUNCTION_DOMAIN, _FUNCTION_NAME))
        elif number == _METADATA_PROPS:
            metadata_bytes += end - start
            if metadata_bytes > max_metadata_bytes:
                raise ValueError(f"its metadata is larger than {max_metadata_bytes:,} bytes")
            key, value = fields.values(start, end, _KEY, _VALUE)
            metadata[key.decode()] = value.decode()
    if not nodes:
        raise ValueError("it has no graph")
    return OnnxContents(metadata, _qualified(nodes), _qualified(functions))


def _qualified(names: set[tuple[bytes, bytes]]) -> frozenset[str]:
    return frozenset(
        name.decode() if domain in (b"", b"ai.onnx") else f"{domain.decode()}::{name.decode()}"
        for domain, name in names
    )


class _Fields:
    """The fields of the messages in ``data``, of which there may be a limited number in all.

    Where this reader and an engine's could read the same bytes in two ways, it refuses them.
    """

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._count = 0

    def values(self, start: int, end: int, first: int, second: int) -> tuple[bytes, bytes]:
        """Return two fields of the message from ``start`` to ``end``: the last of each number, empty without any."""
        values = {first: b"", second: b""}
        for number, begin, stop in self.between(start, end):
            if number in values:
                values[number] = self._data[begin:stop]
        return values[first], values[second]

    def between(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Yield number, start and end of each field with a length in the message from ``start`` to ``end``."""
        position = start
        while position < end:
            self._count += 1
            if self._count > _MAX_FIELDS:
                raise ValueError(f"it has more than {_MAX_FIELDS:,} fields")
            tag, position = self._varint(position)
            if tag >> 32:
                raise ValueError("it has a field whose number is too large")  # which other readers cut to 32 bits
            number, wire_type = tag >> 3, tag & 7
            if wire_type == _LENGTH:
                length, position = self._varint(position)
                if position + length > end:
                    raise ValueError("it ends in the middle of a field")
                yield number, position, position + length
                position += length
            elif wire_type == _VARINT:
                _, position = self._varint(position)
            elif wire_type in _FIXED_SIZES:
                position += _FIXED_SIZES[wire_type]
            else:  # groups among them, which ONNX does not have
                raise ValueError(f"it has a field of the unknown type {wire_type}")
        if position > end:
            raise ValueError("it ends in the middle of a field")

    def _varint(self, position: int) -> tuple[int, int]:
        """Return the number that begins at ``position``, and the position behind it."""
        value = 0
        for shift in range(0, 70, 7):
            if position >= len(self._data):
                raise ValueError("it ends in the middle of a number")
            byte = self._data[position]
            position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, position
        raise ValueError("it has a number of more than 64 bits")
