"""Reading the names of the classes, in the forms that lessons save them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vgg_runtime.errors import LabelsError

__all__ = ["IMAGENET", "read_labels"]

IMAGENET = "imagenet"

_ACCEPTED = (
    'Accepted: {"0": "daisy", ...}, {"daisy": 0, ...}, ["daisy", ...] in JSON, a text file with one name per line, '
    f"or the word {IMAGENET}."
)


def read_labels(source: str, classes: int) -> tuple[str, ...]:
    """Return one name per class, in the order of the network's outputs.

    Args:
        source: path of a JSON file (index to name, name to index, or a list) or of a text file, or "imagenet".
        classes: width of the network's head.

    Raises:
        LabelsError: the file is unreadable, of another form, or does not fit the head.
    """
    labels = _imagenet() if source == IMAGENET else _parse(Path(source))
    if unfit := [str(i) for i, label in enumerate(labels) if not label.strip() or not _is_text(label)]:
        raise LabelsError(f"the labels in {source} have no legible name for class {', '.join(unfit)}.", hint=_ACCEPTED)
    if len(labels) != classes:
        raise LabelsError(
            f"{source} names {len(labels)} class{'es' * (len(labels) != 1)}, the network has {classes} outputs.",
            hint="Give the class_indices.json of the data set that this checkpoint was trained on.",
        )
    return labels


def _parse(path: Path) -> tuple[str, ...]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise LabelsError(f"there is no file of labels {path}.", hint=_ACCEPTED) from error
    except (OSError, UnicodeDecodeError) as error:
        raise LabelsError(f"the labels in {path} cannot be read: {error}.", hint=_ACCEPTED) from error
    if path.suffix.lower() == ".json" or text.lstrip()[:1] in ("{", "["):
        return _from_json(text, path)
    # Not splitlines(): that takes other characters for the end of a line too, such as U+2028 and form feeds.
    return tuple(line.strip() for line in text.rstrip().split("\n"))


def _from_json(text: str, path: Path) -> tuple[str, ...]:
    try:
        data = json.loads(text, object_pairs_hook=_without_repetition)
    except (ValueError, RecursionError) as error:
        raise LabelsError(f"{path} cannot be read as JSON: {error}.", hint=_ACCEPTED) from error
    if isinstance(data, list) and all(isinstance(name, str) for name in data):
        return tuple(data)
    if isinstance(data, dict) and data:
        if all(_is_index(key) and isinstance(name, str) for key, name in data.items()):
            return _in_order({int(key): name for key, name in data.items()}, len(data), path)
        if all(_is_index(value) for value in data.values()):
            return _in_order({int(value): key for key, value in data.items()}, len(data), path)
    raise LabelsError(f"{path} is JSON of another form than labels have.", hint=_ACCEPTED)


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """JSON lets a key come twice, and the json module then keeps the last without a word."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"it has the key {next(key for key in keys if keys.count(key) > 1)!r} more than once")
    return found


def _is_index(value: Any) -> bool:
    if isinstance(value, str):
        return value.isdecimal() and len(value) < 10  # more digits are no class, and may be too many for int()
    return isinstance(value, int) and not isinstance(value, bool)


def _is_text(label: str) -> bool:
    """Whether ``label`` can be written down: JSON's escapes can spell half a surrogate pair, which cannot."""
    return not any("\ud800" <= character <= "\udfff" for character in label)


def _in_order(names: dict[int, str], entries: int, path: Path) -> tuple[str, ...]:
    if sorted(names) != list(range(entries)):
        raise LabelsError(
            f"the indices in {path} are {sorted(names)[:10]}, not each of 0 to {entries - 1} once.", hint=_ACCEPTED
        )
    return tuple(names[i] for i in range(entries))


def _imagenet() -> tuple[str, ...]:
    from vgg_models.torchvision_import import import_torchvision

    weights = import_torchvision().models.get_weight("VGG16_Weights.IMAGENET1K_V1")
    return tuple(weights.meta["categories"])
