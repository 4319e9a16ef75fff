"""Layouts: how quantized weights lie in a file, for the sake of loading. The outputs stay the same to the bit.

Each is a :data:`Layout`: one transformation per file, named for its effect, that changes the model in place and returns
the names of the nodes that it changed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

__all__ = ["Layout"]

Layout = Callable[["onnx.ModelProto"], list[str]]
