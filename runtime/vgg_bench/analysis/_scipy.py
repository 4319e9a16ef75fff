"""The only import of SciPy, which measuring needs and predicting does not."""

from __future__ import annotations

from types import ModuleType

from vgg_runtime.errors import MissingCapabilityError

__all__ = ["import_scipy_stats"]


def import_scipy_stats() -> ModuleType:
    """Return ``scipy.stats``.

    Raises:
        MissingCapabilityError: it is not installed.
    """
    try:
        import scipy.stats
    except ImportError as error:
        raise MissingCapabilityError(
            "confidence intervals need scipy, which is not installed.", hint='pip install "vgg-deploy[report]"'
        ) from error
    stats: ModuleType = scipy.stats
    return stats
