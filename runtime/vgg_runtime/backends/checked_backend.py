"""A model whose answers are held back until its files were found to be those of the manifest."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from vgg_runtime.backends import Backend
from vgg_runtime.checksum import PendingChecksums

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vgg_runtime.manifest import Prepared

__all__ = ["CheckedBackend"]


class CheckedBackend:
    """Loads a backend while ``checksums`` are computed beside it.

    Raises:
        BundleError: the files were changed. Where the engine can load them all the same, the first ``run`` says so.
    """

    def __init__(self, load: Callable[[], Backend], checksums: PendingChecksums) -> None:
        self._checksums = checksums
        try:
            self._backend = load()
        except Exception:
            checksums.require_digests()  # a file that was changed is the better reason
            raise
        checksums.require_same_files()
        self.device, self.device_reason = self._backend.device, self._backend.device_reason
        self.metadata = self._backend.metadata

    def run(self, batch: Prepared) -> NDArray[np.float32]:
        """Return outputs (batch, classes) for a ``batch`` of the dtype and layout that the manifest says.

        Raises:
            BundleError: the files were changed.
        """
        try:
            return self._backend.run(batch)
        finally:
            self._checksums.require_digests()
