"""Which files were compared with their SHA-256 on this machine before, and have been left alone since.

Device, inode, size and times tell: whatever writes to a file, replaces it or copies it changes one of them, and no call
sets ctime, the time of the last change. What they cannot tell is damage below the file system.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from pathlib import Path

from vgg_runtime._internal.cache import load_entry, remove_entry, store_entry

__all__ = ["States", "file_states", "forget_verified", "remember_verified", "were_verified"]

# What identifies the content of each file, by its name in the bundle; None of a file that is not there.
States = dict[str, dict[str, int] | None]

_KIND, _IDENTITY = "verified", ("st_dev", "st_ino", "st_size", "st_mtime_ns", "st_ctime_ns")

# The coarsest clock of a file system, that of FAT: a second write within one step leaves the times as they are.
CLOCK_STEP_NS = 2 * 10**9


def file_states(directory: Path, names: Mapping[str, str]) -> States:
    """Return device, inode, size and times of the files ``names`` below ``directory``."""
    return {name: _state(directory / name) for name in names}


def were_verified(directory: Path, digests: Mapping[str, str], states: States) -> bool:
    """Return whether these files, in these ``states``, are known to have the SHA-256 ``digests``, by name."""
    stored = load_entry(_KIND, _key(directory, digests))
    return stored is not None and stored.get("files") == states


def remember_verified(directory: Path, digests: Mapping[str, str], states: States, *, seen_ns: int) -> None:
    """Remember that the files have ``digests``, unless they may change without a trace in ``states``.

    Args:
        states: of the files, the same before and after their digests were computed.
        seen_ns: when that was first seen, by the clock of :func:`time.time_ns`.
    """
    if sys.platform == "win32":
        return  # which gives the time of creation as ctime
    times = [time for state in states.values() if state for time in (state["st_mtime_ns"], state["st_ctime_ns"])]
    if max(times, default=seen_ns) < seen_ns - CLOCK_STEP_NS:
        store_entry(_KIND, _key(directory, digests), {"files": states}, level=logging.INFO)


def forget_verified(directory: Path, digests: Mapping[str, str]) -> None:
    """Forget that the files had ``digests``: one of them turned out to be damaged, whatever its times say."""
    remove_entry(_KIND, _key(directory, digests))


def _state(file: Path) -> dict[str, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return {field: getattr(status, field) for field in _IDENTITY}


def _key(directory: Path, digests: Mapping[str, str]) -> dict[str, str]:
    return {str(directory.resolve() / name): digest for name, digest in digests.items()}
