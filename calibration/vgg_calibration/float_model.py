"""Any float32 ONNX model, checked and brought into the normal form for calibration and the quantizers."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vgg_calibration.onnx_io import save_model
from vgg_runtime.bundle.manifest import InputSpec
from vgg_runtime.errors import CalibrationError

if TYPE_CHECKING:
    import onnx_ir

__all__ = ["MIN_OPSET", "FloatModel", "open_float_model"]

# The first opset in which DequantizeLinear has one scale per channel.
MIN_OPSET = 13

_ACCEPTED = "A float32 network with one image input is needed: (batch, channels, height, width) of fixed size."


@dataclass(frozen=True)
class FloatModel:
    """The normalized copy of a model.

    Attributes:
        file: its path.
        input_spec: its only input.
    """

    file: Path
    input_spec: InputSpec


@contextmanager
def open_float_model(file: Path) -> Iterator[FloatModel]:
    """Yield a copy of the model in ``file`` after the final passes of PyTorch's exporter.

    BatchNorm is folded into the layer before it, constants are initializers, and every node has a unique name. Our
    own exports have this form already.

    Raises:
        CalibrationError: the file is not such a model.
    """
    from onnx_ir.passes.common import RemoveInitializersFromInputsPass
    from onnxscript import optimizer, rewriter

    network = _load(file)
    try:
        RemoveInitializersFromInputsPass()(network)
        input_spec = _image_input(network)
        _check_float32(network)
    except ValueError as error:
        raise CalibrationError(f"{file}: {error}.", hint=_ACCEPTED) from None
    optimizer.optimize(network)
    rewriter.rewrite(network)
    with tempfile.TemporaryDirectory(prefix="vgg-calibration-") as folder:
        copy = Path(folder) / "model.onnx"
        save_model(network, copy, single_file=False)
        yield FloatModel(copy, input_spec)


def _load(file: Path) -> onnx_ir.Model:
    import onnx_ir

    try:
        network = onnx_ir.load(file)
    except OSError as error:
        raise CalibrationError(f"{file} cannot be read: {error.strerror or error}.") from error
    except Exception as error:  # protobuf's errors, and those of onnx_ir about contradictory fields
        raise CalibrationError(f"{file} is not an ONNX model.") from error
    for value in network.graph.initializers.values():
        data = value.const_value
        if isinstance(data, onnx_ir.ExternalTensor) and not Path(data.path).is_file():
            raise CalibrationError(f"{file}: its weights in {data.path} are missing.", hint="Keep both files together.")
    return network


def _image_input(network: onnx_ir.Model) -> InputSpec:
    """Return the only input of ``network``.

    Raises:
        ValueError: there is none, or it is not an image of fixed size.
    """
    import onnx_ir

    inputs = network.graph.inputs
    if len(inputs) != 1:
        names = ", ".join(str(value.name) for value in inputs)
        raise ValueError(f"it has {len(inputs)} inputs ({names})" if inputs else "it has no input")
    value = inputs[0]
    if value.dtype != onnx_ir.DataType.FLOAT:
        raise ValueError(f"input {value.name} is {str(value.dtype).lower()}")
    sizes = [] if value.shape is None else [size if isinstance(size, int) else str(size) for size in value.shape]
    if len(sizes) != 4 or not all(isinstance(size, int) and size > 0 for size in sizes[1:]):
        raise ValueError(f"input {value.name} has the shape ({', '.join(map(str, sizes))})")
    return InputSpec(tuple(sizes), str(value.name))


def _check_float32(network: onnx_ir.Model) -> None:
    """Check that ``network`` computes in float32 and can be quantized.

    Raises:
        ValueError: it has another precision, or too old an opset.
    """
    import onnx_ir

    opset = network.opset_imports.get("", 1)
    if opset < MIN_OPSET:
        raise ValueError(f"opset {opset} is too old, {MIN_OPSET} or later is needed (onnx.version_converter converts)")
    if quantized := sorted({node.op_type for node in network.graph if "Quantize" in node.op_type}):
        raise ValueError(f"it is quantized already ({', '.join(quantized)})")
    for value in network.graph.initializers.values():
        if value.dtype in (onnx_ir.DataType.FLOAT16, onnx_ir.DataType.BFLOAT16, onnx_ir.DataType.DOUBLE):
            raise ValueError(f"weight {value.name} is {str(value.dtype).lower()}")
