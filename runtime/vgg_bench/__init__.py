"""Measure every variant of a bundle on every engine of this machine: ``vgg-bench``.

The JSON that it writes is :class:`Results`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vgg_runtime._internal.lazy import lazy_names

if TYPE_CHECKING:
    from vgg_bench.results import Results

    __version__: str

__all__ = [
    "Results",
    "__version__",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Results": "vgg_bench.results",
    },
)
