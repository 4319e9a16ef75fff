"""Find the weights in what a training loop saved: bare, under a key, or beside an average of themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from vgg_runtime.errors import ArchitectureError, CheckpointError

__all__ = ["Weights", "find_weights"]

# Keys that hold the weights of a model, as they are found in the wild.
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
# Keys that hold a running average of them. The raw weights go first: they are what every loop saves and what its
# reported accuracy is mostly of; the note says that there was a choice.
_AVERAGE_KEYS = ("ema", "model_ema", "ema_model", "state_dict_ema", "ema_state_dict", "params_ema", "ema_params")

# The first part of keys that lie in one dict with those of the model, and what they are.
_BESIDE_THE_MODEL = {
    "an average of the weights; the raw ones were taken": _AVERAGE_KEYS,
    "the loss": ("criterion", "loss", "loss_fn", "loss_func", "loss_function"),
}
# thop registers these in every layer, and leaves some of them there.
_COUNTERS_OF_THOP = frozenset({"total_ops", "total_params"})

_HINT = "Load it with torch, pick the one that you want, and save that alone: torch.save(checkpoint[KEY], path)."


@dataclass(frozen=True)
class Weights:
    """A state dict as it was saved, or a whole module, and what was done to find it."""

    content: Mapping[str, object] | nn.Module
    notes: tuple[str, ...] = ()


def find_weights(content: object, where: str = "") -> Weights:
    """Return the weights in what was saved.

    Raises:
        CheckpointError: there are none.
        ArchitectureError: there are several sets of weights, and none of them is the usual one.
    """
    if isinstance(content, nn.Module):
        return Weights(content)
    if not isinstance(content, Mapping):
        raise CheckpointError(f"the checkpoint holds a {type(content).__name__}{where}, not weights.", hint=_HINT)
    if not content:
        raise CheckpointError(f"the checkpoint holds an empty dict{where}.", hint="Save model.state_dict().")
    if _is_state_dict(content):
        return _model_alone(content)
    key, notes = _choose_key(content, where)
    inner = find_weights(content[key], f" under {key!r}")
    return Weights(inner.content, (*notes, *inner.notes))


def _is_state_dict(content: Mapping[object, object]) -> bool:
    named_tensors = [key for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)]
    # A training loop may keep a tensor or two beside its dicts; a state dict holds no dict and no module.
    return bool(named_tensors) and not any(_holds_weights(value) for value in content.values())


def _holds_weights(value: object) -> bool:
    if isinstance(value, nn.Module):
        return True
    if not isinstance(value, Mapping):
        return False
    return _is_state_dict(value) or any(
        isinstance(key, str) and key in _WEIGHT_KEYS and _holds_weights(inner) for key, inner in value.items()
    )


def _choose_key(content: Mapping[str, object], where: str) -> tuple[str, tuple[str, ...]]:
    holders = [key for key, value in content.items() if isinstance(key, str) and _holds_weights(value)]
    averages = [key for key in holders if key in _AVERAGE_KEYS]
    known = [key for key in _WEIGHT_KEYS if key in holders]
    raw = known or [key for key in holders if key not in averages]
    chosen = raw or averages
    if len(chosen) == 1:
        notes = [f"the weights were under the key {chosen[0]!r}"]
        if averages and raw:
            notes.append(f"the raw weights were taken, not the average of them under {', '.join(averages)}")
        elif averages:
            notes.append(f"the weights are an average ({chosen[0]}); there were no raw ones beside it")
        return chosen[0], tuple(notes)
    keys = ", ".join(f"{key} ({_type(value)})" for key, value in content.items())
    if chosen:
        raise ArchitectureError(
            f"the checkpoint holds several sets of weights{where}: {', '.join(chosen)}.", hint=_HINT
        )
    raise CheckpointError(f"the checkpoint holds no weights{where}: its keys are {keys}.", hint=_HINT)


def _type(value: object) -> str:
    inner = sorted({type(entry).__name__ for entry in value.values()}) if isinstance(value, Mapping) else []
    return type(value).__name__ + (f" of {', '.join(inner)}" if inner else "")


def _model_alone(content: Mapping[str, object]) -> Weights:
    """Drop what lies beside the weights: an average of them, the weights of a loss, the counters of a profiler."""
    parents = {key.partition(".")[0] for key in content if "." in key}
    dropped = {name: sorted(parents & set(names)) for name, names in _BESIDE_THE_MODEL.items()}
    beside = {parent for found in dropped.values() for parent in found}
    dropped["counters of the profiler thop"] = sorted(_COUNTERS_OF_THOP & {key.rpartition(".")[2] for key in content})
    kept = {
        key: value
        for key, value in content.items()
        if key.partition(".")[0] not in beside and key.rpartition(".")[2] not in _COUNTERS_OF_THOP
    }
    if not any("." in key for key in kept):
        return Weights(content)
    notes = [f"left out: {', '.join(found)} ({name})" for name, found in dropped.items() if found]
    return Weights(kept, tuple(notes))
