"""Take the weights out of a TorchScript archive.

An archive is code: loading it compiles that code, and runs what it has for restoring itself (``__setstate__``). So
this is the one kind of checkpoint that must be your own.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from vgg_runtime.errors import CheckpointError

__all__ = ["read_torchscript"]


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
            hint="Give the checkpoint that it was made from, or the archive as it was before torch.jit.freeze.",
        )
    return dict(state)
