"""SHA-256 of files."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

__all__ = ["sha256_of"]


def sha256_of(path: str | os.PathLike[str]) -> str:
    """Return the hexadecimal SHA-256 digest of the file at ``path``."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
