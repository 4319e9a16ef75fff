"""``vgg-run triton``: a model repository for NVIDIA Triton Inference Server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vgg_runtime._internal.lazy import lazy_names

if TYPE_CHECKING:
    from vgg_triton.repository import TritonModel, write_model

    __version__: str

__all__ = ["TritonModel", "__version__", "write_model"]

__getattr__, __dir__ = lazy_names(
    __name__, {"TritonModel": "vgg_triton.repository", "write_model": "vgg_triton.repository"}
)
