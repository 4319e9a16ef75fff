"""Reading and writing ONNX files with their weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import onnx
from onnx import numpy_helper

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir
    from numpy.typing import NDArray

__all__ = ["read_onnx", "read_tensor", "save_model", "write_onnx"]


def read_onnx(file: Path) -> onnx.ModelProto:
    """Return the model in ``file`` with its external data.

    Recorded shapes of intermediate values are dropped: passes replace nodes, and a stale shape is an error.
    """
    model = onnx.load(file)
    del model.graph.value_info[:]
    return model


def read_tensor(tensor: onnx.TensorProto, *, beside: Path) -> NDArray[np.generic]:
    """Return the values of one tensor of the model in the file ``beside``, which may be in its external data.

    Only this tensor is read: a VGG's first fully connected weight alone takes 411 MB.
    """
    alone = onnx.TensorProto()
    alone.CopyFrom(tensor)
    return numpy_helper.to_array(alone, str(beside.parent))


def write_onnx(model: onnx.ModelProto, file: Path, *, single_file: bool) -> Path | None:
    """Write ``model`` to ``file``, its weights beside it unless ``single_file``; return the path of the weights."""
    import onnx_ir

    network = onnx_ir.from_proto(model)
    network.graph.sort()  # some passes append nodes after those that use them
    return save_model(network, file, single_file=single_file)


def save_model(model: onnx_ir.Model, file: Path, *, single_file: bool) -> Path | None:
    """As :func:`write_onnx`, for a model of onnx_ir."""
    import onnx_ir

    if single_file:
        onnx_ir.save(model, file)
        return None
    data = file.with_name(file.name + ".data")
    onnx_ir.save(model, file, external_data=data.name)
    if data.exists() and data.stat().st_size:
        return data
    data.unlink(missing_ok=True)  # small weights are inside the model file, so this one may be empty
    return None
