"""Export to ONNX by the exporter built on torch.export."""

from __future__ import annotations

import io
import logging
import sys
import warnings
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

from vgg_calibration.onnx_io import save_model
from vgg_runtime._internal.shortening import listed
from vgg_runtime.bundle.onnx_file import read_onnx_contents
from vgg_runtime.bundle.operators import refused_operators
from vgg_runtime.errors import ArchitectureError, UsageError

if TYPE_CHECKING:
    import onnx_ir
    from torch import nn

    from vgg_runtime.bundle.manifest import InputSpec, OutputSpec

__all__ = ["DEFAULT_OPSET", "torch2onnx"]

DEFAULT_OPSET = 20


def torch2onnx(
    module: nn.Module,
    file: Path,
    *,
    input_spec: InputSpec,
    output_spec: OutputSpec,
    opset: int = DEFAULT_OPSET,
    single_file: bool = False,
    metadata: Mapping[str, str],
) -> Path | None:
    """Write ``module`` (in eval mode) as ONNX to ``file``.

    BatchNorm is folded into the convolution before it. Weights go to ``<file>.data``, from which a session maps
    them instead of copying them, unless ``single_file``.

    Args:
        input_spec: name and shape of the input; a named batch dimension becomes dynamic.
        output_spec: name of the output.
        opset: version of the ONNX operator set.
        metadata: written into the model's metadata.

    Returns:
        the path of the external data, or None.

    Raises:
        ArchitectureError: PyTorch cannot trace the module, or it has operators that the runtime refuses.
        UsageError: the exporter cannot write that opset.
    """
    model = _export(module, input_spec, output_spec, opset)
    _strip_developer_paths(model)
    model.metadata_props.update(metadata)
    external_data = save_model(model, file, single_file=single_file)
    _refuse_operators(file)
    return external_data


def _export(module: nn.Module, input_spec: InputSpec, output_spec: OutputSpec, opset: int) -> onnx_ir.Model:
    import torch

    if {input_spec.name, output_spec.name} & module.state_dict().keys():
        # Parameters keep their names in the file, in which each name stands for one value only.
        module = torch.nn.Sequential(OrderedDict(network=module))
    dynamic = input_spec.batch_size is None
    # A batch of 1 would be treated as a constant; 2 stands for any size.
    example = torch.zeros(input_spec.batch_size or 2, *input_spec.image_shape)
    try:
        with _quiet(), torch.inference_mode(False), torch.no_grad():
            program = torch.onnx.export(
                module,
                (example,),
                dynamo=True,
                input_names=[input_spec.name],
                output_names=[output_spec.name],
                dynamic_shapes=({0: input_spec.shape[0]},) if dynamic else None,
                opset_version=opset,
                verbose=False,
            )
    except Exception as error:  # the exporter wraps any error of the module or of a decomposition
        raise _untraceable(error) from error
    assert program is not None  # it is None only if the exporter writes the file itself
    written_opset = program.model.opset_imports[""]
    if written_opset != opset:
        raise UsageError(
            f"this torch ({torch.__version__}) cannot write opset {opset}; it writes opset {written_opset} instead.",
            hint=f"Use `opset={written_opset}`, or omit it.",
        )
    return program.model


def _untraceable(error: Exception) -> ArchitectureError:
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return ArchitectureError(
        f"PyTorch cannot export this network to ONNX: {lines[0] if lines else type(cause).__name__}",
        hint="Its forward must not branch on the values of tensors, and must take any batch size "
        "(or give `batch=N`); torch.export.export(module, (example,)) shows where.",
    )


def _refuse_operators(file: Path) -> None:
    if refused := refused_operators(read_onnx_contents(file, max_metadata_bytes=sys.maxsize)):
        raise ArchitectureError(
            f"this network needs ONNX operators that a bundle may not contain: {listed(refused)}.",
            hint="Replace the layers that they come from, or leave out ONNX: `formats=['torchscript']`.",
        )


def _strip_developer_paths(model: onnx_ir.Model) -> None:
    """Remove the stack traces and class paths of the build machine, which the exporter puts on every node."""
    for node in model.graph.all_nodes():
        node.metadata_props.clear()
        node.doc_string = None
        for value in node.outputs:
            value.metadata_props.clear()
    for value in (*model.graph.inputs, *model.graph.initializers.values()):
        value.metadata_props.clear()
    model.graph.metadata_props.clear()
    model.graph.doc_string = model.doc_string = None


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's notes, printed graphs and warnings; actual problems are raised as exceptions."""
    loggers = [logging.getLogger(name) for name in ("torch", "torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    unread = io.StringIO()
    try:
        with warnings.catch_warnings(), redirect_stdout(unread), redirect_stderr(unread):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
