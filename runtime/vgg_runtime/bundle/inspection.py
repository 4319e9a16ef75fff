"""What a model file contains, checked before an engine reads it."""

from __future__ import annotations

from pathlib import Path

from vgg_runtime._internal.shortening import listed
from vgg_runtime._internal.signal_errors import reraise_from_signal_handler
from vgg_runtime.bundle.embedded_manifest import torchscript_metadata
from vgg_runtime.bundle.manifest import MAX_MANIFEST_BYTES
from vgg_runtime.bundle.onnx_file import read_onnx_contents
from vgg_runtime.bundle.operators import refused_operators
from vgg_runtime.errors import BundleError

__all__ = ["inspect_model"]


def inspect_model(file: Path, format_: str, *, allow_any_operator: bool) -> dict[str, str]:
    """Return the metadata that the model ``file`` carries.

    Args:
        format_: "onnx" or "torchscript", which decides on the engine too; the name of the file decides on neither.
        allow_any_operator: accept an ONNX file whatever its operators.

    Raises:
        BundleError: the file is unreadable, its metadata is too large for a manifest, or an ONNX file has operators
            outside of :data:`~vgg_runtime.bundle.operators.OPERATORS`.
    """
    if format_ == "torchscript":
        return torchscript_metadata(file)
    try:
        contents = read_onnx_contents(file, max_metadata_bytes=MAX_MANIFEST_BYTES)
    except (OSError, ValueError) as error:
        reraise_from_signal_handler(error)
        raise BundleError(f"cannot load {file}: {error}.", hint="Name a bundle, or a file from one.") from error
    if not allow_any_operator and (refused := refused_operators(contents)):
        raise BundleError(
            f"{file} contains operators that vgg-export does not write: {listed(refused)}.",
            hint="A model file is a program. If you trust whoever made this one, `allow_any_operator=True` runs it.",
        )
    return contents.metadata
