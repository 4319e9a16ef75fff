"""Find the weights in what a training loop saved: bare, under a key, or together with their running average."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from vgg_models.types import WeightsChoice
from vgg_runtime._internal.shortening import listed, shortened
from vgg_runtime.errors import ArchitectureError, CheckpointError

__all__ = ["Weights", "find_weights", "is_state_dict"]

# Keys under which training loops save the weights of a model.
_WEIGHT_KEYS = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model_dict",
    "model",
    "net",
    "network",
    "weights",
    "params",
    "module",
    "best_model",
    "best_state",
)
# Keys under which they save a running average of the weights.
_AVERAGE_KEYS = (
    "ema",
    "model_ema",
    "ema_model",
    "state_dict_ema",
    "ema_state_dict",
    "model_ema_state_dict",
    "ema_model_state_dict",
    "model_state_dict_ema",
    "ema_weights",
    "params_ema",
    "ema_params",
)

# The first part of the keys of a loss, which may be in the same dict as those of the model.
_LOSS = ("criterion", "loss", "loss_fn", "loss_func", "loss_function")
# The profiler thop registers these in every layer, and leaves some behind.
_COUNTERS_OF_THOP = frozenset({"total_ops", "total_params"})

_HINT = "Load it with torch, pick the one that you want, and save only that: torch.save(checkpoint[KEY], path)."


@dataclass(frozen=True)
class Weights:
    """A state dict as it was saved, or a whole module, and notes on finding it.

    Attributes:
        averaged: whether it is a running average of the weights.
        notes: what was done to find it.
        remarks: those of the notes that report a choice.
    """

    content: Mapping[str, object] | nn.Module
    averaged: bool = False
    notes: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def find_weights(content: object, choice: WeightsChoice = "raw") -> Weights:
    """Return the weights in the saved object.

    Args:
        choice: which to take if there are raw weights and a running average of them. Every loop
            saves the raw ones, and mostly reports their accuracy.

    Raises:
        CheckpointError: there are none, or no average of them though that is the choice.
        ArchitectureError: there are several sets of weights, and none of them is the obvious one.
    """
    weights = _find(content, choice, "", {})
    if choice == "ema" and not weights.averaged:
        raise CheckpointError(
            f"the checkpoint holds no running average of the weights; it holds {_contents(content)}.",
            hint=f"Omit `weights='ema'`. Averages are recognised by these keys: {', '.join(_AVERAGE_KEYS)}.",
        )
    return weights


def _find(content: object, choice: WeightsChoice, where: str, known: dict[int, bool]) -> Weights:
    if isinstance(content, nn.Module):
        return Weights(content)
    if not isinstance(content, Mapping):
        raise CheckpointError(f"the checkpoint holds a {type(content).__name__}{where}, not weights.", hint=_HINT)
    if not content:
        raise CheckpointError(f"the checkpoint holds an empty dict{where}.", hint="Save model.state_dict().")
    if is_state_dict(content, known):
        return _one_model(content, choice)
    holders = [key for key, value in content.items() if isinstance(key, str) and _holds_weights(value, known)]
    averages = [key for key in holders if key in _AVERAGE_KEYS]
    raw = [key for key in _WEIGHT_KEYS if key in holders] or [key for key in holders if key not in averages]
    key = _sole_key((averages or raw) if choice == "ema" else (raw or averages), content, where)
    inner = _find(content[key], choice, f" under {shortened(key)!r}", known)
    return Weights(
        content=inner.content,
        averaged=key in averages or inner.averaged,
        notes=(f"the weights were under the key {shortened(key)!r}", *_remarks(key, raw, averages), *inner.notes),
        remarks=(*_remarks(key, raw, averages), *inner.remarks),
    )


def is_state_dict(content: Mapping[Any, object], known: dict[int, bool] | None = None) -> bool:
    """Whether these are the tensors of one model, rather than a dict that contains such a dict.

    Args:
        known: answers for dicts inside, by id, to share among calls on the same checkpoint.
    """
    named_tensors = any(isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items())
    known = {} if known is None else known
    # A training loop may keep some tensors beside its dicts; a state dict contains no dicts and no modules.
    return named_tensors and not any(_holds_weights(value, known) for value in content.values())


def _holds_weights(value: object, known: dict[int, bool]) -> bool:
    if not isinstance(value, Mapping):
        return isinstance(value, nn.Module)
    if id(value) not in known:
        holders = [key for key, inner in value.items() if _holds_weights(inner, known)]
        known[id(value)] = any(key in _WEIGHT_KEYS for key in holders) or (not holders and is_state_dict(value, known))
    return known[id(value)]


def _sole_key(keys: list[str], content: Mapping[Any, object], where: str) -> str:
    if len(keys) == 1:
        return keys[0]
    if keys:
        raise ArchitectureError(f"the checkpoint holds several sets of weights{where}: {listed(keys)}.", hint=_HINT)
    raise CheckpointError(f"the checkpoint holds no weights{where}: its keys are {_contents(content)}.", hint=_HINT)


def _remarks(key: str, raw: list[str], averages: list[str]) -> tuple[str, ...]:
    if averages and raw and key not in averages:
        names = listed(averages)
        return (f"the raw weights were taken, not the average of them under {names}; `weights='ema'` takes that",)
    if key in averages and raw:
        return (f"the average of the weights under {key} was taken, not the raw ones under {listed(raw)}",)
    return (f"the weights are an average ({key}); there were no raw ones beside it",) if averages else ()


def _contents(content: object) -> str:
    """The keys and types of the saved object; for a state dict, only that it is one."""
    if not isinstance(content, Mapping) or is_state_dict(content):
        return "one set of weights"
    return listed(f"{shortened(str(key))} ({_type(value)})" for key, value in content.items())


def _type(value: object) -> str:
    inner = sorted({type(entry).__name__ for entry in value.values()}) if isinstance(value, Mapping) else []
    return type(value).__name__ + (f" of {listed(inner)}" if inner else "")


def _one_model(content: Mapping[str, object], choice: WeightsChoice) -> Weights:
    """Take the raw weights or their average if one dict holds both; drop what belongs to neither."""
    parents = {key.partition(".")[0] for key in content if "." in key}
    averages, losses = sorted(parents & set(_AVERAGE_KEYS)), sorted(parents & set(_LOSS))
    raw = {key: value for key, value in content.items() if key.partition(".")[0] not in (*averages, *losses)}
    if not any("." in key for key in raw):  # it is the name of the model itself
        averages, losses, raw = [], [], dict(content)
    if averages and choice == "ema":
        return _average(content, _sole_key(averages, content, ""))
    counters = sorted(_COUNTERS_OF_THOP & {key.rpartition(".")[2] for key in raw})
    kept = {key: value for key, value in raw.items() if key.rpartition(".")[2] not in _COUNTERS_OF_THOP}
    remarks = _left_out("an average of the weights; the raw ones were taken, `weights='ema'` takes it", averages)
    notes = (*remarks, *_left_out("the loss", losses), *_left_out("counters of the profiler thop", counters))
    return Weights(kept, notes=notes, remarks=remarks)


def _left_out(kind: str, names: list[str]) -> tuple[str, ...]:
    return (f"left out: {listed(names)} ({kind})",) if names else ()


def _average(content: Mapping[str, object], prefix: str) -> Weights:
    """Take the keys of the average, without its counters, which are beside the layers."""
    inside = {key.partition(".")[2]: value for key, value in content.items() if key.startswith(f"{prefix}.")}
    layers = {key: value for key, value in inside.items() if "." in key}
    remark = f"the average of the weights under the prefix '{prefix}.' was taken, not the raw ones"
    return Weights(layers or inside, averaged=True, notes=(remark,), remarks=(remark,))
