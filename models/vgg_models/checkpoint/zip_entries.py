"""Refuse zip containers that torch.save cannot have written.

torch.save stores every entry once and uncompressed. A compressed entry is a way to make a small file fill the
memory, and of two entries with one name different readers take different ones.
"""

from __future__ import annotations

import zipfile
from collections import Counter
from pathlib import Path

from vgg_runtime.errors import CheckpointError

__all__ = ["check_zip_entries"]

_HINT = "Load it where it was made, and save it again with torch.save."


def check_zip_entries(path: Path) -> None:
    """Raise CheckpointError where the zip file has compressed or duplicate entries."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    compressed = [entry.filename for entry in entries if entry.compress_type != zipfile.ZIP_STORED]
    if compressed:
        raise CheckpointError(
            f"{path} has compressed entries: {', '.join(compressed)}; torch.save stores them uncompressed.", hint=_HINT
        )
    duplicates = [name for name, count in Counter(entry.filename for entry in entries).items() if count > 1]
    if duplicates:
        raise CheckpointError(f"{path} has several entries of one name: {', '.join(duplicates)}.", hint=_HINT)
