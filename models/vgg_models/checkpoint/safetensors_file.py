"""Read a safetensors file."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from vgg_runtime.errors import CheckpointError, MissingCapabilityError

__all__ = ["read_safetensors", "read_safetensors_header"]


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of the file, on the CPU.

    Raises:
        CheckpointError: the file is truncated or damaged.
        MissingCapabilityError: the safetensors library is not installed.
    """
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise MissingCapabilityError(
            "reading .safetensors needs the safetensors library, which is not installed.",
            hint='Install the build-machine extra: pip install "vgg-deploy[export,cpu]".',
        ) from error
    try:
        return dict(load_file(path, device="cpu"))
    except SafetensorError as error:
        raise CheckpointError(f"{path} is truncated or damaged: {error}.", hint="Save or fetch it again.") from error


def read_safetensors_header(path: Path) -> dict[str, str]:
    """Return the strings in the header of a file that read_safetensors reads."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return dict(file.metadata() or {})
