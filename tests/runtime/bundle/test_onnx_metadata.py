from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from vgg_runtime.bundle.onnx_metadata import onnx_metadata

MIB = 2**20
FIELD_14, GROUP, END_OF_GROUP = b"\x72", b"\x9b\x06", b"\x9c\x06"


@pytest.fixture
def model(tmp_path: Path, write_model: Callable[..., None]) -> Path:
    write_model(tmp_path / "model.onnx", metadata={"vgg_deploy.json": '{"réd": 1}', "author": "", "": "x" * 300})
    return tmp_path / "model.onnx"


def test_metadata_is_what_onnx_reads(model: Path) -> None:
    expected = {entry.key: entry.value for entry in onnx.load(model).metadata_props}
    assert onnx_metadata(model, max_bytes=MIB) == expected
    assert len(expected) == 3


def test_a_model_without_metadata_has_none(tmp_path: Path, write_model: Callable[..., None]) -> None:
    write_model(tmp_path / "bare.onnx")
    assert onnx_metadata(tmp_path / "bare.onnx", max_bytes=MIB) == {}


def test_metadata_beyond_the_limit_is_refused(model: Path) -> None:
    with pytest.raises(ValueError, match="its metadata is larger than 100 bytes"):
        onnx_metadata(model, max_bytes=100)


@pytest.mark.parametrize(
    ("ending", "reason"),
    [
        (FIELD_14, "in the middle of a number"),
        (FIELD_14 + b"\x05abc", "in the middle of a field"),
        (FIELD_14 + b"\xff" * 11, "more than 64 bits"),
        (b"\x77", "unknown type 7"),
        (FIELD_14 + b"\x04\x0a\x02\xff\xff", "invalid start byte"),
        (b"\x08\x01" * 100_000, "more than 100,000 fields"),
    ],
)
def test_what_is_no_onnx_file_is_refused(model: Path, ending: bytes, reason: str) -> None:
    with model.open("ab") as file:
        file.write(ending)
    with pytest.raises(ValueError, match=reason):
        onnx_metadata(model, max_bytes=MIB)


def test_metadata_behind_fields_of_other_kinds_is_found(model: Path) -> None:
    fixed = b"\xa1\x06" + bytes(8) + b"\xa5\x06" + bytes(4)
    with model.open("ab") as file:
        file.write(fixed + GROUP + FIELD_14 + b"\x06\x0a\x01k\x12\x01v" + END_OF_GROUP)
    assert onnx_metadata(model, max_bytes=MIB)["k"] == "v"
