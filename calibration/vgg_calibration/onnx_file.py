"""Reading and writing ONNX files with their weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import onnx

if TYPE_CHECKING:
    import onnx_ir

__all__ = ["read_onnx", "save_model", "write_onnx"]


def read_onnx(file: Path) -> onnx.ModelProto:
    """Return the model in ``file`` with its external data.

    Recorded shapes of intermediate values are dropped: the passes replace nodes, and a stale shape is an error.
    """
    model = onnx.load(file)
    del model.graph.value_info[:]
    return model


def write_onnx(model: onnx.ModelProto, file: Path, *, single_file: bool) -> Path | None:
    """Write ``model`` to ``file``, its weights beside it unless ``single_file``; return the path of the weights."""
    import onnx_ir

    written = onnx_ir.from_proto(model)
    written.graph.sort()  # some passes append nodes behind those that use them
    return save_model(written, file, single_file=single_file)


def save_model(model: onnx_ir.Model, file: Path, *, single_file: bool) -> Path | None:
    """The same for a model as onnx_ir holds it."""
    import onnx_ir

    if single_file:
        onnx_ir.save(model, file)
        return None
    data = file.with_name(file.name + ".data")
    onnx_ir.save(model, file, external_data=data.name)
    if data.exists() and data.stat().st_size:
        return data
    data.unlink(missing_ok=True)  # small weights are inside the file, and nothing was left for this one
    return None
