from __future__ import annotations

from pathlib import Path

import pytest

from vgg_runtime.bundle.inspection import inspect_model
from vgg_runtime.errors import BundleError


def test_metadata_is_returned_where_operators_are_allowed(looping_model: Path) -> None:
    assert list(inspect_model(looping_model, "onnx", allow_any_operator=True)) == ["vgg_deploy.json"]


def test_format_decides_how_a_file_is_read_not_its_name(looping_model: Path) -> None:
    renamed = looping_model.rename(looping_model.with_suffix(".pt"))
    with pytest.raises(BundleError, match=r"model\.pt contains operators that vgg-export does not write: Loop\."):
        inspect_model(renamed, "onnx", allow_any_operator=False)
