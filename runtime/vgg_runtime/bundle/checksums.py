"""SHA-256 of files, and their comparison with the expected digests while an engine loads them."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from vgg_runtime.bundle.verified_files import file_states, forget_verified, remember_verified, were_verified
from vgg_runtime.errors import BundleError, VggDeployError

__all__ = ["PendingChecksums", "require_unchanged", "sha256_of"]

# Some 1.3 ms of hashing. Smaller: between two chunks the thread waits for the interpreter's lock, up to 5 ms while
# another thread imports something. Larger: the chunk does not stay in the CPU's cache.
_CHUNK = 2 * 2**20


def sha256_of(path: str | os.PathLike[str]) -> str:
    """Return the hexadecimal SHA-256 digest of the file at ``path``."""
    digest, chunk = hashlib.sha256(), memoryview(bytearray(_CHUNK))
    with Path(path).open("rb", buffering=0) as file:
        while count := file.readinto(chunk):
            digest.update(chunk[:count])
    return digest.hexdigest()


def require_unchanged(changed: Sequence[str], *, as_error: type[VggDeployError]) -> None:
    """Raise ``as_error`` if there are ``changed`` files of a bundle, which it names."""
    if changed:
        raise as_error(
            f"the bundle was changed after it was written: {', '.join(changed)} (SHA-256 differs).",
            hint="Copy the bundle again from where it was exported.",
        )


class PendingChecksums:
    """Compares files of a bundle with their SHA-256 in a separate thread, while an engine loads them.

    The engine opens the files by itself, so there are two questions: whether the bytes have the expected digests
    (:meth:`require_digests`), and whether the engine opened the files that were hashed (:meth:`require_same_files`).

    Args:
        directory: directory of the bundle.
        expected: hexadecimal digest of each file, by its path in the bundle.
        remember: do not hash files again that had these digests before and are untouched since.
    """

    def __init__(self, directory: Path, expected: Mapping[str, str], *, remember: bool = False) -> None:
        self._directory = directory
        self._expected = dict(expected)
        self._remember = remember
        self._seen_ns = time.time_ns()
        self._before = file_states(directory, expected)
        self._changed: list[str] | None = None
        self._failure: OSError | None = None
        self._thread = threading.Thread(target=self._compare, name="checksums", daemon=True)
        self._thread.start()

    def require_same_files(self) -> None:
        """Refuse files that were replaced or written to since this object was created; for when the engine has loaded.

        Device, inode, size and times show it: renaming another file over one changes its inode, writing to it or
        restoring it changes its times. So a file that is the same before and after was the same in between, up to the
        resolution of the file system's clock (some milliseconds). Later writes to a mapped file remain undetected.

        Raises:
            BundleError: a file has changed.
        """
        now = file_states(self._directory, self._expected)
        if names := [name for name, before in self._before.items() if now[name] != before]:
            raise BundleError(
                f"the bundle was changed while it was being opened: {', '.join(names)}.", hint="Open it again."
            )

    def require_digests(self) -> None:
        """Wait for the digests, and refuse files that have other ones.

        Raises:
            BundleError: a SHA-256 is not the expected one, or a file cannot be read.
        """
        self._thread.join()
        if self._changed is None and self._failure is None:
            self._compare()  # forked in the meantime: the thread stayed with the parent
        if self._failure is not None:
            raise BundleError(f"a file of the bundle cannot be read: {self._failure}.") from self._failure
        require_unchanged(self._changed or (), as_error=BundleError)

    def _compare(self) -> None:
        try:
            self._changed = self._changed_files()
        except OSError as error:
            self._failure = error

    def _changed_files(self) -> list[str]:
        files = self._directory, self._expected
        if self._remember and were_verified(*files, self._before):
            return []
        changed = [name for name, digest in self._expected.items() if sha256_of(self._directory / name) != digest]
        if changed:
            forget_verified(*files)
        elif self._remember and file_states(*files) == self._before:
            remember_verified(*files, self._before, seen_ns=self._seen_ns)
        return changed
