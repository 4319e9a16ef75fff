"""The checkpoint itself in PyTorch, eager and compiled, for ``vgg-bench --checkpoint``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vgg_runtime.backends.base import SessionConfig
from vgg_runtime.bundle.manifest import Manifest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from vgg_runtime.bundle.manifest import InputArray

__all__ = ["PyTorchBackend", "compiled", "eager"]


class PyTorchBackend:
    """A module on the CPU.

    Args:
        module: in eval mode.
        threads: CPU threads of one call; PyTorch has one setting per process.
    """

    device: Literal["cpu", "cuda"] = "cpu"
    device_reason = "as asked"

    def __init__(self, module: nn.Module, threads: int) -> None:
        import torch

        from vgg_export.eager import eager_function

        torch.set_num_threads(threads)
        self.metadata: Mapping[str, str] = {}
        self._run = eager_function(module)

    def run(self, batch: InputArray) -> NDArray[np.float32]:
        """Return outputs (batch, classes) for a ``batch`` of the dtype and layout that the manifest says."""
        return self._run(batch)


def eager(checkpoint: Path, config: SessionConfig, manifest: Manifest) -> PyTorchBackend:
    """Run the checkpoint in eager PyTorch, loaded as for the export of ``manifest``.

    Raises:
        CheckpointError: the checkpoint is refused.
    """
    return PyTorchBackend(_module(checkpoint, manifest), config.threads)


def compiled(checkpoint: Path, config: SessionConfig, manifest: Manifest) -> PyTorchBackend:
    """As :func:`eager`, with ``torch.compile``; the first call compiles, which needs a C++ compiler.

    Raises:
        CheckpointError: the checkpoint is refused.
    """
    module = _module(checkpoint, manifest)
    module.compile()
    return PyTorchBackend(module, config.threads)


def _module(checkpoint: Path, manifest: Manifest) -> nn.Module:
    from vgg_export.exporters.preprocessing import prepend_preprocessing
    from vgg_models import load_model

    architecture = manifest.architecture
    module = load_model(
        checkpoint,
        model=architecture.name if architecture.origin in ("named", "user code") else None,
        input_size=manifest.input.size,
        input_channels=manifest.input.channels,
        num_classes=manifest.output.classes,
        weights="ema" if manifest.source.averaged else "raw",
    ).module
    return prepend_preprocessing(module, manifest.preprocessing) if manifest.input.takes_pixels else module
