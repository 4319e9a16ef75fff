"""The metadata of an ONNX file, read without an engine and without the graph.

An ONNX file is a protobuf message: fields one after the other, each a tag (number and wire type) and a value. The
graph is one field with its length in front, so it is skipped in one step.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

__all__ = ["onnx_metadata"]

# Field numbers of ModelProto and StringStringEntryProto in onnx.proto.
_METADATA_PROPS, _KEY, _VALUE = 14, 1, 2

_VARINT, _FIXED64, _LENGTH, _GROUP, _END_OF_GROUP, _FIXED32 = range(6)
_FIXED_SIZES = {_FIXED64: 8, _FIXED32: 4}

# A model has some ten fields besides its metadata, functions and domains.
_MAX_FIELDS = 100_000


def onnx_metadata(file: Path, *, max_bytes: int) -> dict[str, str]:
    """Return the metadata of the ONNX file ``file``.

    Raises:
        ValueError: it is larger than ``max_bytes``, or this is no ONNX file.
        OSError: the file is unreadable.
    """
    metadata: dict[str, str] = {}
    total = 0
    with file.open("rb") as stream:
        for number, length in _fields(stream, os.fstat(stream.fileno()).st_size):
            if number != _METADATA_PROPS:
                continue
            total += length
            if total > max_bytes:
                raise ValueError(f"its metadata is larger than {max_bytes:,} bytes")
            end, entry = stream.tell() + length, {_KEY: b"", _VALUE: b""}
            for inner, size in _fields(stream, end):
                entry[inner] = stream.read(size)
            metadata[entry[_KEY].decode()] = entry[_VALUE].decode()
    return metadata


def _fields(stream: BinaryIO, end: int) -> Iterator[tuple[int, int]]:
    """Yield number and length of each field with a length, the stream at its value; it goes on behind the value."""
    for _ in range(_MAX_FIELDS):
        if stream.tell() >= end:
            return
        number, wire_type = divmod(_varint(stream), 8)
        if wire_type == _VARINT:
            _varint(stream)
        elif wire_type in _FIXED_SIZES:
            stream.seek(_FIXED_SIZES[wire_type], os.SEEK_CUR)
        elif wire_type == _LENGTH:
            length = _varint(stream)
            start = stream.tell()
            if start + length > end:
                raise ValueError("it ends in the middle of a field")
            yield number, length
            stream.seek(start + length)
        elif wire_type not in (_GROUP, _END_OF_GROUP):  # what is in a group counts as if it were not
            raise ValueError(f"it has a field of the unknown type {wire_type}")
    raise ValueError(f"it has more than {_MAX_FIELDS:,} fields")


def _varint(stream: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = stream.read(1)
        if not byte:
            raise ValueError("it ends in the middle of a number")
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise ValueError("it has a number of more than 64 bits")
