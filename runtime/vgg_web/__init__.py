"""``vgg-run web``: a static page that runs a bundle in the browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vgg_runtime._internal.lazy import lazy_names

if TYPE_CHECKING:
    from vgg_web.writing import WebPage, write_page

    __version__: str

__all__ = ["WebPage", "__version__", "write_page"]

__getattr__, __dir__ = lazy_names(__name__, {"WebPage": "vgg_web.writing", "write_page": "vgg_web.writing"})
