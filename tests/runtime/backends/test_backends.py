from __future__ import annotations

from pathlib import Path

import pytest

from vgg_runtime.backends import BACKENDS, Placement, open_backend
from vgg_runtime.errors import MissingCapabilityError


def test_onnxruntime_is_a_backend() -> None:
    assert "onnxruntime" in BACKENDS


def test_an_unknown_backend_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(MissingCapabilityError, match=r"no backend is called 'none'\.\s*There is onnxruntime"):
        open_backend("none", tmp_path / "model.onnx", Placement("cpu", 1))
