"""Reading and writing ONNX files with their weights."""

from __future__ import annotations

from pathlib import Path

import onnx

__all__ = ["read_onnx", "write_onnx"]


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
    if single_file:
        onnx_ir.save(written, file)
        return None
    data = file.with_name(file.name + ".data")
    onnx_ir.save(written, file, external_data=data.name)
    return data if data.exists() else None
