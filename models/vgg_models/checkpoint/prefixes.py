"""Prefixes that wrappers put before every key of a state dict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

__all__ = ["without_prefixes"]

T = TypeVar("T")

# DataParallel, Lightning and lessons with one attribute, torch.compile; averages as in _AVERAGE_KEYS of layout.py.
_WRAPPERS = {
    "module": "DataParallel",
    "model": "Lightning, or an attribute of that name",
    "_orig_mod": "torch.compile",
}
# torch.optim.swa_utils.AveragedModel counts its updates beside the wrapped module.
_COUNTERS = ("n_averaged",)


def without_prefixes(state: Mapping[str, T]) -> Iterator[tuple[dict[str, T], tuple[str, ...]]]:
    """Yield the state dict as it is, then with one more common prefix taken off each time, with notes on each.

    Only the receiving module can tell whether ``model.`` is a wrapper or one of its own attributes, so each state
    of undress is given. A prefix is one name that all keys share and that says nothing about an order (no digit).
    """
    notes: tuple[str, ...] = ()
    current = dict(state)
    while True:
        yield current, notes
        weights = {key: value for key, value in current.items() if key not in _COUNTERS}
        shared = {key.partition(".")[0] for key in weights}
        prefix = next(iter(shared), "")
        if len(shared) != 1 or prefix.isdigit() or not all("." in key for key in weights):
            return
        # `classifier.weight` alone is a layer, not a wrapper: its keys would come out as bare `weight` and `bias`.
        if prefix not in _WRAPPERS and not all(key.count(".") > 1 for key in weights):
            return
        current = {key.partition(".")[2]: value for key, value in weights.items()}
        origin = f" ({_WRAPPERS[prefix]})" if prefix in _WRAPPERS else ""
        notes = (*notes, f"the prefix '{prefix}.' was taken off every key{origin}")
