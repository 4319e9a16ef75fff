"""A module or a state dict in memory as a checkpoint, without changes to the caller's objects."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from vgg_models.checkpoint.contents import find_weights
from vgg_models.checkpoint.metadata_reading import read_metadata
from vgg_models.checkpoint.reading import Checkpoint
from vgg_models.checkpoint.state_dict import clean_tensors
from vgg_models.types import CheckpointInfo, WeightsChoice
from vgg_runtime.errors import CheckpointError

__all__ = ["checkpoint_in_memory"]

_STATE_DICT_HINT = "Give its state dict: module.state_dict(), and the architecture as model='MODULE:CALLABLE'."


def checkpoint_in_memory(
    content: nn.Module | Mapping[str, Any], *, weights: WeightsChoice = "raw", allow_nonfinite: bool = False
) -> Checkpoint:
    """Return the weights in ``content`` as if it had been saved and read again.

    Args:
        content: a module, of which a copy is made; a state dict, whose float32 tensors on the CPU are shared; or the
            dict of a training loop that holds one of them.
        weights, allow_nonfinite: as for :func:`~vgg_models.checkpoint.reading.read_checkpoint`.

    Raises:
        CheckpointError: there are no weights, they can't be used, or the module can't be copied.
        ArchitectureError: there are several sets of weights.
    """
    selection = find_weights(content, weights)
    notes = list(selection.notes)
    original: Mapping[str, object]
    if isinstance(selection.content, nn.Module):
        module, wrappers = _unwrap(selection.content)
        notes += wrappers
        # The state dict of a module may have more than tensors; its own class knows what to do with it.
        original = {key: value for key, value in module.state_dict().items() if isinstance(value, Tensor)}
    else:
        module, original = None, selection.content
    state, cast_notes = clean_tensors(original, allow_nonfinite=allow_nonfinite)
    notes += [*cast_notes, *_moves(state)]
    return Checkpoint(
        path=None,
        state={key: tensor.cpu() for key, tensor in state.items()},
        module=None if module is None else _copy(module),
        info=CheckpointInfo(
            kind="state dict" if module is None else "module",
            averaged=selection.averaged,
            notes=tuple(notes),
            remarks=selection.remarks,
        ),
        metadata=read_metadata(content, module, {}),
    )


def _unwrap(module: nn.Module) -> tuple[nn.Module, list[str]]:
    """Return the network inside training wrappers, which can neither be copied nor exported, and notes on them."""
    notes = []
    while (inner := _wrapped(module)) is not None:
        notes.append(f"the network inside {type(module).__name__} was taken")
        module = inner
    return module, notes


def _wrapped(module: nn.Module) -> nn.Module | None:
    if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
        inner: nn.Module = module.module
        return inner
    compiled = getattr(module, "_orig_mod", None)  # torch.compile
    return compiled if isinstance(compiled, nn.Module) else None


def _copy(module: nn.Module) -> nn.Module:
    if isinstance(module, torch.jit.ScriptModule):
        raise CheckpointError("a TorchScript module has no Python code to export.", hint=_STATE_DICT_HINT)
    try:
        return deepcopy(module).cpu()
    except Exception as error:  # the user's class may fail in any way
        raise CheckpointError(
            f"the module {type(module).__name__} can't be copied: {type(error).__name__}: {error}.",
            hint=_STATE_DICT_HINT,
        ) from error


def _moves(state: Mapping[str, Tensor]) -> list[str]:
    devices = sorted({str(tensor.device) for tensor in state.values()} - {"cpu"})
    return [f"copied from {', '.join(devices)} to the CPU"] if devices else []
