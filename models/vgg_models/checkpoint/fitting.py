"""Put a state dict into a module, or list everything that does not fit."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from vgg_models.checkpoint.prefixes import without_prefixes
from vgg_runtime.errors import ArchitectureError

__all__ = ["fit"]


def fit(module: nn.Module, state: Mapping[str, Tensor], *, architecture: str) -> tuple[str, ...]:
    """Give the tensors to the module (which takes them over without a copy) and return notes on what was done.

    Args:
        module: its parameters may be on the meta device.
        state: with the prefixes that it was saved with; those that the module does not have are taken off.
        architecture: what to call the module in the message.

    Raises:
        ArchitectureError: missing, unexpected or misshapen keys; all of them are listed.
    """
    expected = module.state_dict()
    undressed = list(without_prefixes(state))
    chosen, notes = max(undressed, key=lambda candidate: len(candidate[0].keys() & expected.keys()))
    chosen = {**chosen, **_counters(expected, chosen)}
    faults = [
        _list("missing", [key for key in expected if key not in chosen]),
        _list("unexpected", [key for key in chosen if key not in expected]),
        _list("of another shape or type", list(_misfits(expected, chosen))),
    ]
    if any(faults):
        raise ArchitectureError(
            f"the checkpoint doesn't fit {architecture}: " + "; ".join(fault for fault in faults if fault) + ".",
            hint="Leave out --model to have the architecture read off the checkpoint, or give --model MODULE:CALLABLE.",
        )
    module.load_state_dict(_as_saved_today(chosen, module), strict=True, assign=True)
    return notes


def _as_saved_today(state: dict[str, Tensor], module: nn.Module) -> OrderedDict[str, Tensor]:
    """Keys and shapes are those of the module as it is now, so no layer needs to convert an older version of itself."""
    versioned = OrderedDict(state)
    versioned._metadata = module.state_dict()._metadata  # type: ignore[attr-defined]
    return versioned


def _counters(expected: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """BatchNorm's batch counters as integers. torch before 0.4.1 wrote none, casting a whole state dict casts them
    too, and eval mode never reads them."""
    counters = [key for key in expected if key.endswith(".num_batches_tracked")]
    return {key: given.get(key, torch.zeros(())).to(expected[key].dtype) for key in counters}


def _misfits(expected: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> Iterable[str]:
    for key in expected.keys() & given.keys():
        want, have = expected[key], given[key]
        if want.shape != have.shape:
            yield f"{key} {tuple(have.shape)} instead of {tuple(want.shape)}"
        elif want.is_floating_point() != have.is_floating_point():
            yield f"{key} {have.dtype} instead of {want.dtype}"


def _list(kind: str, keys: list[str]) -> str:
    return f"{kind} are {', '.join(sorted(keys))}" if keys else ""
