"""Load a state dict into a module, or list everything that does not fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from vgg_models.checkpoint.descriptions import MAX_KEY_LENGTH, MAX_TENSORS
from vgg_runtime._internal.shortening import listed, shortened
from vgg_runtime._internal.validation import counted
from vgg_runtime.errors import ArchitectureError, CheckpointError

__all__ = ["assign", "clean_tensors", "fit", "without_prefixes"]


def assign(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Put the tensors, whose keys are those of the module, into it without copying them.

    ``load_state_dict`` goes through all keys once per layer: minutes for thousands of layers.
    """
    for path, layer in module.named_modules(remove_duplicate=False):
        prefix = f"{path}." if path else ""
        for name, parameter in layer.named_parameters(recurse=False, remove_duplicate=False):
            setattr(layer, name, nn.Parameter(state[prefix + name], requires_grad=parameter.requires_grad))
        for name, _ in layer.named_buffers(recurse=False, remove_duplicate=False):
            if prefix + name in state:  # all but those that are not saved
                setattr(layer, name, state[prefix + name])


def fit(module: nn.Module, state: Mapping[str, Tensor], *, architecture: str) -> tuple[str, ...]:
    """Put the tensors into the module, without copying them, and return notes on what was done.

    Args:
        module: its parameters may be on the meta device.
        state: with its original prefixes; those that the module does not have are removed.
        architecture: name of the module in messages.

    Raises:
        ArchitectureError: missing, unexpected or misshapen keys; all of them are listed.
    """
    expected = module.state_dict()
    tensors, notes = max(without_prefixes(state), key=lambda candidate: len(candidate[0].keys() & expected.keys()))
    tensors = {**tensors, **_counters(expected, tensors)}
    faults = [
        _list("missing", [key for key in expected if key not in tensors]),
        _list("unexpected", [key for key in tensors if key not in expected]),
        _list("of another shape or type", list(_misfits(expected, tensors))),
    ]
    if any(faults):
        raise ArchitectureError(
            f"the checkpoint doesn't fit {architecture}: " + "; ".join(fault for fault in faults if fault) + ".",
            hint="Leave out `model` to have the architecture read off the checkpoint, "
            "or give `model='MODULE:CALLABLE'`.",
        )
    assign(module, tensors)
    return notes


def _counters(expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """BatchNorm's batch counters as integers.

    torch before 0.4.1 saved none, casting a whole state dict casts them too, and eval mode never reads them.
    """
    counters = [key for key in expected if key.endswith(".num_batches_tracked")]
    return {key: tensors.get(key, torch.zeros(())).to(expected[key].dtype) for key in counters}


def _misfits(expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> Iterable[str]:
    for key in expected.keys() & tensors.keys():
        want, have = expected[key], tensors[key]
        if want.shape != have.shape:
            yield f"{key} {tuple(have.shape)} instead of {tuple(want.shape)}"
        elif want.is_floating_point() != have.is_floating_point():
            yield f"{key} {have.dtype} instead of {want.dtype}"


def _list(kind: str, keys: list[str]) -> str:
    return f"{kind} are {listed(sorted(keys))}" if keys else ""


T = TypeVar("T")

# Prefixes of DataParallel, Lightning, modules with a single attribute, and torch.compile; of averages, those in
# _AVERAGE_KEYS of contents.py.
_WRAPPERS = {
    "module": "DataParallel",
    "model": "Lightning, or an attribute of that name",
    "_orig_mod": "torch.compile",
}
# torch.optim.swa_utils.AveragedModel keeps a counter of its updates beside the wrapped module.
_COUNTERS = ("n_averaged",)
_MAX_PREFIXES = 20


def without_prefixes(state: Mapping[str, T]) -> Iterator[tuple[dict[str, T], tuple[str, ...]]]:
    """Yield the state dict as it is, then with one more common prefix removed each time, and notes.

    Only the receiving module can tell whether ``model.`` is a wrapper or one of its own attributes, so each stage is
    yielded. A prefix is a name that all keys share and that is not an index.
    """
    notes: tuple[str, ...] = ()
    current = dict(state)
    for _ in range(_MAX_PREFIXES):
        yield current, notes
        weights = {key: value for key, value in current.items() if key not in _COUNTERS}
        shared = {key.partition(".")[0] for key in weights}
        prefix = next(iter(shared), "")
        if len(shared) != 1 or prefix.isdigit() or not all("." in key for key in weights):
            return
        # `classifier.weight` alone is a layer, not a wrapper: its keys would become plain `weight` and `bias`.
        if prefix not in _WRAPPERS and not all(key.count(".") > 1 for key in weights):
            return
        current = {key.partition(".")[2]: value for key, value in weights.items()}
        origin = f" ({_WRAPPERS[prefix]})" if prefix in _WRAPPERS else ""
        notes = (*notes, f"the prefix '{prefix}.' was taken off every key{origin}")


def clean_tensors(state: Mapping[str, object], *, allow_nonfinite: bool) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return the state dict with floating-point tensors as float32 (others unchanged), and notes on the casts.

    Raises:
        CheckpointError: values that are not tensors; sparse, quantized, meta or complex tensors; NaN or infinite
            numbers, unless ``allow_nonfinite``. All offending names are listed.
    """
    if len(state) > MAX_TENSORS:
        raise CheckpointError(f"the model has {len(state)} tensors; at most {MAX_TENSORS} are read.")
    if (longest := max(state, key=len, default="")) and len(longest) > MAX_KEY_LENGTH:
        raise CheckpointError(f"the model has the key {shortened(longest)}; at most {MAX_KEY_LENGTH} are read.")
    _refuse({name: fault for name, value in state.items() if (fault := _fault(value))})
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    casts = Counter(str(value.dtype).removeprefix("torch.") for value in tensors.values() if _needs_cast(value))
    # Tied weights are the same memory under several names: cast and looked at once.
    memory = {name: _memory(value) for name, value in tensors.items()}
    single = {memory[name]: value.detach() for name, value in tensors.items()}
    single = {key: value.float() if _needs_cast(value) else value for key, value in single.items()}
    finite = {key: _is_finite(value) for key, value in single.items()}
    cast = {name: single[memory[name]] for name in tensors}
    notes = [f"{counted(count, 'tensor')} cast from {dtype} to float32" for dtype, count in sorted(casts.items())]
    nonfinite = [name for name in tensors if not finite[memory[name]]]
    if nonfinite and not allow_nonfinite:
        raise CheckpointError(
            f"these weights are NaN or infinite: {listed(nonfinite)}.",
            hint="The training diverged: use an earlier checkpoint. `allow_nonfinite=True` accepts them all the same.",
        )
    if nonfinite:
        notes.append(f"NaN or infinite weights were let through: {listed(nonfinite)}")
    return cast, tuple(notes)


def _refuse(faults: dict[str, str]) -> None:
    if faults:
        listing = listed(f"{name} ({fault})" for name, fault in faults.items())
        raise CheckpointError(
            f"these entries can't be used: {listing}. Accepted are dense tensors of real numbers.",
            hint="Save the float weights of the trained model: torch.save(model.state_dict(), path).",
        )


def _fault(value: object) -> str:
    if not isinstance(value, Tensor):
        return f"a {type(value).__name__}, not a tensor"
    if is_lazy(value):
        return "uninitialized: its layer has not seen an input yet"
    if value.is_meta:
        return "meta: it has no data"
    if value.is_quantized:
        return "quantized"
    if value.layout is not torch.strided:
        return "sparse"
    return "complex" if value.is_complex() else ""


def _memory(value: Tensor) -> tuple[object, ...]:
    return value.device, value.data_ptr(), value.dtype, value.shape, value.stride()


def _needs_cast(value: Tensor) -> bool:
    return value.is_floating_point() and value.dtype is not torch.float32


def _is_finite(value: Tensor) -> bool:
    if not value.is_floating_point() or value.numel() == 0:
        return True
    # aminmax propagates NaN and, unlike isfinite(value).all(), needs no mask of the size of the tensor.
    return bool(torch.isfinite(torch.stack(torch.aminmax(value))).all())
