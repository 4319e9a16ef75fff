"""The classes of images that lie in folders named after them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

__all__ = ["true_classes"]


def true_classes(names: Sequence[str], labels: Sequence[str] | None) -> list[int] | None:
    """Return the class of each image by the folder it lies in, or None where a folder is not named after a label.

    Case, spaces, dashes, underscores and slashes are not told apart. A folder that fits two labels is named after none.
    """
    if labels is None:
        return None
    plain = [_plain(label) for label in labels]
    known = {label: index for index, label in enumerate(plain) if plain.count(label) == 1}
    found = [known.get(_plain(PurePosixPath(name).parent.name)) for name in names]
    return [index for index in found if index is not None] if None not in found else None


def _plain(name: str) -> str:
    return re.sub(r"[\s_/-]+", "", name).casefold()
