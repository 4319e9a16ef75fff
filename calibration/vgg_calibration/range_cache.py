"""Ranges kept in a readable file, so that the same model and images are not run twice."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from vgg_calibration.ranges import Range

__all__ = ["cache_directory", "load_ranges", "store_ranges"]

VERSION = 1


def cache_directory() -> Path:
    """Return $VGG_DEPLOY_CACHE, or the platform's directory for caches."""
    if given := os.environ.get("VGG_DEPLOY_CACHE"):
        return Path(given)
    home = Path.home()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", home / "AppData/Local")) / "vgg-deploy" / "Cache"
    if sys.platform == "darwin":
        return home / "Library/Caches/vgg-deploy"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "vgg-deploy"


def load_ranges(key: Mapping[str, str]) -> dict[str, Range] | None:
    """Return the ranges stored under ``key``, by tensor; None where there are none, or not readable ones."""
    try:
        stored = json.loads(_file(key).read_text(encoding="utf-8"))
        if stored["key"] != dict(key):
            return None
        return {name: Range(float(low), float(high)) for name, (low, high) in stored["ranges"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # absent or damaged: the images are run again


def store_ranges(key: Mapping[str, str], ranges: Mapping[str, Range]) -> None:
    """Store ``ranges`` under ``key``; a cache that cannot be written is no error."""
    file = _file(key)
    text = json.dumps(
        {"key": dict(key), "ranges": {name: [found.low, found.high] for name, found in ranges.items()}}, indent=1
    )
    part = file.with_suffix(f".{os.getpid()}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8")
        part.replace(file)
    except OSError:
        with contextlib.suppress(OSError):  # its folder may be none
            part.unlink()


def _file(key: Mapping[str, str]) -> Path:
    digest = hashlib.sha256(json.dumps({**key, "version": VERSION}, sort_keys=True).encode()).hexdigest()
    return cache_directory() / "ranges" / f"{digest[:32]}.json"
