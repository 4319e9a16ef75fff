"""Turn the tensors of a state dict into dense finite float32, or refuse them by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import torch
from torch import Tensor

from vgg_runtime.counts import counted
from vgg_runtime.errors import CheckpointError

__all__ = ["clean_tensors"]


def clean_tensors(state: Mapping[str, object], *, allow_nonfinite: bool) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return the state dict with floating-point tensors as float32 (others unchanged), and notes on the casts.

    Raises:
        CheckpointError: values that are no tensors; sparse, quantized, meta or complex tensors; NaN or infinite
            numbers, unless ``allow_nonfinite``. All offending names are listed.
    """
    _refuse({name: fault for name, value in state.items() if (fault := _fault(value))})
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    casts = Counter(str(value.dtype).removeprefix("torch.") for value in tensors.values() if _needs_cast(value))
    cast = {name: value.detach().float() if _needs_cast(value) else value.detach() for name, value in tensors.items()}
    notes = [f"{counted(count, 'tensor')} cast from {dtype} to float32" for dtype, count in sorted(casts.items())]
    nonfinite = [name for name, value in cast.items() if not _is_finite(value)]
    if nonfinite and not allow_nonfinite:
        raise CheckpointError(
            f"these weights are NaN or infinite: {', '.join(nonfinite)}.",
            hint="The training diverged: take an earlier checkpoint. --allow-nonfinite goes on all the same.",
        )
    if nonfinite:
        notes.append(f"NaN or infinite weights were let through: {', '.join(nonfinite)}")
    return cast, tuple(notes)


def _refuse(faults: dict[str, str]) -> None:
    if faults:
        listing = ", ".join(f"{name} ({fault})" for name, fault in faults.items())
        raise CheckpointError(
            f"these entries can't be used: {listing}. Accepted are dense tensors of real numbers.",
            hint="Save the float weights of the trained model: torch.save(model.state_dict(), path).",
        )


def _fault(value: object) -> str:
    if not isinstance(value, Tensor):
        return f"a {type(value).__name__}, not a tensor"
    if value.is_meta:
        return "meta: it has no data"
    if value.is_quantized:
        return "quantized"
    if value.layout is not torch.strided:
        return "sparse"
    return "complex" if value.is_complex() else ""


def _needs_cast(value: Tensor) -> bool:
    return value.is_floating_point() and value.dtype is not torch.float32


def _is_finite(value: Tensor) -> bool:
    if not value.is_floating_point() or value.numel() == 0:
        return True
    # aminmax passes NaN on and, unlike isfinite(value).all(), makes no mask as large as the tensor has numbers.
    return bool(torch.isfinite(torch.stack(torch.aminmax(value))).all())
