"""The names of the classes: from a file, in the usual forms, or from the checkpoint."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vgg_models.class_names import class_names_in
from vgg_models.metadata import Statement, sole_statement
from vgg_runtime._internal.shortening import shortened
from vgg_runtime._internal.validation import counted
from vgg_runtime.errors import LabelsError

__all__ = ["IMAGENET", "labels_from_checkpoint", "read_labels"]

IMAGENET = "imagenet"

_ACCEPTED = (
    'Accepted: {"0": "daisy", ...}, {"daisy": 0, ...}, ["daisy", ...] in JSON, a text file with one name per line, '
    f"or the word {IMAGENET}."
)


def read_labels(source: str | Sequence[str] | Mapping[Any, Any], classes: int) -> tuple[str, ...]:
    """Return one name per class, in the order of the network's outputs.

    Args:
        source: path of a JSON file (index to name, name to index, or a list) or of a text file; "imagenet"; or the
            names; or a dict, in either direction as in a file.
        classes: width of the network's head.

    Raises:
        LabelsError: the file is unreadable, or the names are malformed or do not fit the head.
    """
    origin = source if isinstance(source, str) else "the sequence"
    try:
        labels = _imagenet() if isinstance(source, str) and source == IMAGENET else class_names_in(_parse(source))
    except ValueError as error:
        raise LabelsError(f"the labels in {origin} can't be used: {error}.", hint=_ACCEPTED) from error
    if len(labels) != classes:
        raise LabelsError(
            f"{origin} names {counted(len(labels), 'class')}, the network has {counted(classes, 'output')}.",
            hint="Give the class_indices.json of the data set that this checkpoint was trained on.",
        )
    return labels


def labels_from_checkpoint(
    candidates: Sequence[Statement[tuple[str, ...]]], classes: int
) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """Return the labels that a checkpoint states, None if they don't fit or contradict each other, and remarks on that.

    Args:
        candidates: what the checkpoint has in places that usually hold class names.
        classes: width of the network's head.
    """
    unfit = tuple(
        f"labels: {candidate.source} has {len(candidate.value)} names, the network has {classes} outputs; not taken"
        for candidate in candidates
        if len(candidate.value) != classes
    )
    statement, remarks = sole_statement(
        "labels", [candidate for candidate in candidates if len(candidate.value) == classes]
    )
    if statement is None:
        return None, (*unfit, *remarks)
    return statement.value, (*unfit, f"labels: taken from {statement.source}")


def _parse(source: str | Sequence[str] | Mapping[Any, Any]) -> Any:
    if isinstance(source, Mapping):
        return {str(key): value for key, value in source.items()}
    if isinstance(source, set | frozenset):
        raise ValueError("a set has no order")
    if not isinstance(source, str):
        return tuple(source)
    path = Path(source)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise LabelsError(f"there is no labels file {path}.", hint=_ACCEPTED) from error
    except (OSError, UnicodeDecodeError) as error:
        raise LabelsError(f"the labels in {path} cannot be read: {error}.", hint=_ACCEPTED) from error
    if path.suffix.lower() == ".json" or text.lstrip()[:1] in ("{", "["):
        return _from_json(text, path)
    # Not splitlines(), which also splits at other characters, such as U+2028 and form feeds.
    return [line.strip() for line in text.rstrip().split("\n")]


def _from_json(text: str, path: Path) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_without_repetition)
    except (ValueError, RecursionError) as error:
        raise LabelsError(f"{path} cannot be read as JSON: {error}.", hint=_ACCEPTED) from error


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse duplicate keys, of which the json module would silently keep the last."""
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        repeated = next(key for key in counts if counts[key] > 1)
        raise ValueError(f"it has the key {shortened(repeated)!r} more than once")
    return mapping


def _imagenet() -> tuple[str, ...]:
    from vgg_models._torchvision import import_torchvision

    weights = import_torchvision().models.get_weight("VGG16_Weights.IMAGENET1K_V1")
    return tuple(weights.meta["categories"])
