"""``vgg-run``: run, describe or verify a bundle on an edge device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vgg_runtime._internal.lazy import lazy_names

if TYPE_CHECKING:
    __version__: str

__all__ = ["__version__"]

__getattr__, __dir__ = lazy_names(__name__, {})
