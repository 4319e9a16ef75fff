"""A cache in files: one per key, in one folder per kind."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["cache_directory", "entry_file", "load_entry", "remove_entry", "replacing", "store_entry"]

logger = logging.getLogger(__name__)

VERSION = 1


def cache_directory() -> Path:
    """Return $VGG_DEPLOY_CACHE, or the platform's directory for caches.

    Raises:
        RuntimeError: this user has no home directory, as in containers that run under an arbitrary user id.
    """
    if directory := os.environ.get("VGG_DEPLOY_CACHE"):
        return Path(directory)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData/Local") / "vgg-deploy" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library/Caches/vgg-deploy"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vgg-deploy"


def load_entry(kind: str, key: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the entry stored under ``key``; None if there is none, or it is unreadable."""
    try:
        stored = json.loads(entry_file(kind, key).read_text(encoding="utf-8"))
        return stored if stored["key"] == dict(key) else None
    except (OSError, RuntimeError, ValueError, KeyError, TypeError):
        return None  # absent or damaged: computed again


def store_entry(kind: str, key: Mapping[str, str], values: Mapping[str, Any], *, level: int = logging.WARNING) -> None:
    """Store ``values``, as JSON has them, under ``key``; a cache that cannot be written is logged at ``level``."""
    try:
        with replacing(entry_file(kind, key)) as part:
            part.write_text(json.dumps({"key": dict(key), **values}, indent=1), encoding="utf-8")
    except (OSError, RuntimeError) as error:
        logger.log(level, "the cache cannot be written, so this will be computed again next time: %s", error)


def remove_entry(kind: str, key: Mapping[str, str]) -> None:
    """Remove what was stored under ``key``, if anything was; an entry that cannot be removed is logged."""
    try:
        entry_file(kind, key).unlink(missing_ok=True)
    except (OSError, RuntimeError) as error:
        logger.warning("an outdated entry of the cache cannot be removed: %s", error)


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """Give a path to write to; what is written there takes the place of ``file`` at once, and only if all went well."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(f".{os.urandom(8).hex()}.part")  # threads share a process number, as containers may
    try:
        yield part
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


def entry_file(kind: str, key: Mapping[str, str], *, suffix: str = ".json") -> Path:
    """Return the file of ``key``, whether it exists or not.

    Raises:
        RuntimeError: as :func:`cache_directory`.
    """
    digest = hashlib.sha256(json.dumps({**key, "version": VERSION}, sort_keys=True).encode()).hexdigest()
    return cache_directory() / kind / f"{digest[:32]}{suffix}"
