"""Read a safetensors file or a TorchScript archive, and check the entries of a zip file."""

from __future__ import annotations

import warnings
import zipfile
from collections import Counter
from pathlib import Path

import torch
from torch import Tensor, nn

from vgg_runtime.errors import CheckpointError, MissingCapabilityError

__all__ = ["check_zip_entries", "read_safetensors", "read_safetensors_header", "read_torchscript"]


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


def read_torchscript(path: Path) -> dict[str, Tensor]:
    """Return the state dict of an archive that torch.jit.save wrote, on the CPU.

    Raises:
        CheckpointError: the archive is damaged, or frozen (its weights are constants in the code).
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # torch.jit.load is deprecated since torch 2.11
            archive: nn.Module = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
            state = archive.state_dict()
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        raise CheckpointError(f"{path} is a damaged TorchScript archive: {reason}.", hint="Save it again.") from error
    if not state:
        raise CheckpointError(
            f"{path} is a frozen TorchScript archive: its weights are constants of the code, not parameters.",
            hint="Give the checkpoint that it was made from, or the archive before torch.jit.freeze.",
        )
    return dict(state)


_HINT = "Load it in the environment it was made in, and save it again with torch.save."


def check_zip_entries(path: Path) -> None:
    """Raise CheckpointError if the zip file has compressed or duplicate entries."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    compressed = [entry.filename for entry in entries if entry.compress_type != zipfile.ZIP_STORED]
    if compressed:
        raise CheckpointError(
            f"{path} has compressed entries: {', '.join(compressed)}; torch.save stores them uncompressed.", hint=_HINT
        )
    duplicates = [name for name, count in Counter(entry.filename for entry in entries).items() if count > 1]
    if duplicates:
        raise CheckpointError(f"{path} has several entries with the same name: {', '.join(duplicates)}.", hint=_HINT)
