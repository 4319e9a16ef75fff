"""A memory of the files whose SHA-256 was verified on this machine, and which have not been touched since.

Device, inode, size and times show that: writing to a file, replacing it or copying it changes one of them, and no call
sets ctime, the time of the last change. What they cannot show is damage below the file system.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from pathlib import Path

from vgg_runtime._internal.cache import load_entry, remove_entry, store_entry

__all__ = ["States", "file_states", "forget_verified", "remember_verified", "were_verified"]

# The state that identifies the contents of each file, by its name in the bundle; None for a missing file.
States = dict[str, dict[str, int] | None]

_KIND, _IDENTITY = "verified", ("st_dev", "st_ino", "st_size", "st_mtime_ns", "st_ctime_ns")

# The resolution of the coarsest file system clock, FAT's: a second write within one step leaves the times unchanged.
CLOCK_STEP_NS = 2 * 10**9


def file_states(directory: Path, names: Mapping[str, str]) -> States:
    """Return device, inode, size and times of the files ``names`` below ``directory``."""
    return {name: _state(directory / name) for name in names}


def were_verified(directory: Path, digests: Mapping[str, str], states: States) -> bool:
    """Return whether the files, in these ``states``, are known to have the SHA-256 ``digests``."""
    stored = load_entry(_KIND, _key(directory, digests))
    return stored is not None and stored.get("files") == states


def remember_verified(directory: Path, digests: Mapping[str, str], states: States, *, seen_ns: int) -> None:
    """Remember that the files have ``digests``, unless they could change without a trace in ``states``.

    Args:
        states: states of the files, the same before and after their digests were computed.
        seen_ns: when these states were first read, by the clock of :func:`time.time_ns`.
    """
    if sys.platform == "win32":
        return  # whose ctime is the time of creation
    times = [time for state in states.values() if state for time in (state["st_mtime_ns"], state["st_ctime_ns"])]
    if max(times, default=seen_ns) < seen_ns - CLOCK_STEP_NS:
        store_entry(_KIND, _key(directory, digests), {"files": states}, level=logging.INFO)


def forget_verified(directory: Path, digests: Mapping[str, str]) -> None:
    """Forget that the files had ``digests``, because one of them is damaged, whatever its state."""
    remove_entry(_KIND, _key(directory, digests))


def _state(file: Path) -> dict[str, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return {field: getattr(status, field) for field in _IDENTITY}


def _key(directory: Path, digests: Mapping[str, str]) -> dict[str, str]:
    return {str(directory.resolve() / name): digest for name, digest in digests.items()}
