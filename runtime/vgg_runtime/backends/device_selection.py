"""The device that ONNX Runtime runs on: the requested one, or the one that "auto" chooses and reports."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from vgg_runtime.backends.base import Backend, SessionConfig
from vgg_runtime.errors import MissingCapabilityError

__all__ = ["open_on_device"]

logger = logging.getLogger(__name__)

_process_on_cuda: int | None = None


def open_on_device(model: Path, config: SessionConfig) -> Backend:
    """Load the ONNX file ``model`` on the device of ``config``.

    Raises:
        MissingCapabilityError: onnxruntime is missing, or CUDA is although it was asked for, or this process was
            forked from one that uses CUDA.
        BundleError: onnxruntime refuses the file.
    """
    if config.device == "cpu":
        return _on_cpu(model, config, "as asked")
    _require_no_fork()
    from vgg_runtime.backends.cuda_presence import built_with_cuda

    try:
        return _on_cuda(model, config)
    except MissingCapabilityError as error:
        if config.device == "cuda":
            raise
        why_not = error.message
    # A user who installed an onnxruntime with CUDA expects the GPU; without CUDA there was no choice to report.
    logger.log(logging.WARNING if built_with_cuda() else logging.INFO, "running on the CPU: %s", why_not)
    return _on_cpu(model, config, why_not)


def _require_no_fork() -> None:
    """Refuse even if the CPU would do: a classifier that was on CUDA would move to the CPU silently."""
    if _process_on_cuda not in (None, os.getpid()):
        raise MissingCapabilityError(
            "this process was forked from one that uses CUDA, and CUDA does not survive a fork.",
            hint='Start processes by "spawn", open classifiers after the fork only, or use device="cpu".',
        )


def _on_cpu(model: Path, config: SessionConfig, reason: str) -> Backend:
    from vgg_runtime.backends.onnxruntime_cpu import OnnxRuntimeBackend

    return OnnxRuntimeBackend(model, config, reason)


def _on_cuda(model: Path, config: SessionConfig) -> Backend:
    global _process_on_cuda  # noqa: PLW0603 - a fact about this process, so it is global
    from vgg_runtime.backends.cuda_presence import require_cuda

    require_cuda(config.gpu)
    from vgg_runtime.backends.onnxruntime_cuda import CudaBackend

    backend = CudaBackend(model, config)
    _process_on_cuda = os.getpid()
    return backend
