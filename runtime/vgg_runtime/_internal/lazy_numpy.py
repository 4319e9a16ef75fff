"""numpy, imported when it is first used.

Its import takes as long as hashing 100 MB. ``Classifier.open`` starts the thread that hashes before anything needs
numpy, so that the two go on side by side.
"""

from __future__ import annotations

from typing import Any

__all__ = ["np"]


class _LazyNumpy:
    def __getattr__(self, name: str) -> Any:
        import numpy

        value = getattr(numpy, name)
        setattr(self, name, value)  # found without this method from now on
        return value


np = _LazyNumpy()
