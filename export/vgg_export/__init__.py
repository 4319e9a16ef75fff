"""Export a trained checkpoint to a verified bundle.

Importing this package does not import torch; the first use of a name below does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vgg_runtime._internal.lazy import lazy_names

if TYPE_CHECKING:
    from vgg_export.pipeline import export

    __version__: str

__all__ = [
    "__version__",
    "export",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "export": "vgg_export.pipeline",
    },
)
