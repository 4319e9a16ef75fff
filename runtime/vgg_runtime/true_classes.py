"""The classes of images that lie in folders named after them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

__all__ = ["class_of_each", "true_classes"]


def true_classes(names: Sequence[str], labels: Sequence[str] | None) -> list[int] | None:
    """Return the class of each image as :func:`class_of_each` does, or None where one of them is not known."""
    classes = [None] if labels is None else class_of_each(names, labels)
    return [index for index in classes if index is not None] if None not in classes else None


def class_of_each(names: Sequence[str], labels: Sequence[str]) -> list[int | None]:
    """Return the class of each image by the folder it lies in, None of a folder that is not named after a label.

    Case, spaces, dashes, underscores and slashes are not told apart. A folder that fits two labels is named after none.
    """
    plain = [_plain(label) for label in labels]
    known = {label: index for index, label in enumerate(plain) if plain.count(label) == 1}
    return [known.get(_plain(PurePosixPath(name).parent.name)) for name in names]


def _plain(name: str) -> str:
    return re.sub(r"[\s_/-]+", "", name).casefold()
