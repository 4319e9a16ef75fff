"""Export a trained checkpoint to a verified bundle.

Importing this package does not import torch; the first use of a name below does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vgg_export.pipeline import export

    __version__: str

__all__ = ["__version__", "export"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "__version__":
        from vgg_runtime.version import distribution_version

        return distribution_version()
    from vgg_export import pipeline

    return getattr(pipeline, name)
