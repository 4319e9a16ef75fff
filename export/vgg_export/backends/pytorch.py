"""The checkpoint itself in PyTorch, in the ways that users run it, for ``vgg-bench --checkpoint``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vgg_export.backends.torch_device import torch_device
from vgg_runtime.backends.base import SessionConfig
from vgg_runtime.bundle.manifest import Manifest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from vgg_runtime.bundle.manifest import InputArray

__all__ = [
    "PyTorchBackend",
    "autocast_bf16",
    "autocast_fp16",
    "channels_last",
    "compiled",
    "compiled_fp16",
    "eager",
]


class PyTorchBackend:
    """A module on the CPU or on CUDA.

    Args:
        module: in eval mode.
        config: device and threads.
        autocast: the dtype that PyTorch's autocast computes convolutions and matrix products in; None for none.

    Raises:
        MissingCapabilityError: CUDA was asked for and is missing.
    """

    device_reason = "as asked"

    def __init__(
        self, module: nn.Module, config: SessionConfig, autocast: Literal["float16", "bfloat16"] | None = None
    ) -> None:
        import torch

        from vgg_export.eager import eager_function

        self.metadata: Mapping[str, str] = {}
        self.device = torch_device(config)
        module.to(self.device)
        casts = torch.autocast(
            torch.device(self.device).type, getattr(torch, autocast or "bfloat16"), enabled=autocast is not None
        )

        def forward(batch: Tensor) -> Tensor:
            with casts:
                output: Tensor = module(batch.to(self.device))
            return output.float().cpu()

        self._run = eager_function(forward)

    def run(self, batch: InputArray) -> NDArray[np.float32]:
        """Return outputs (batch, classes) for a ``batch`` of the dtype and layout that the manifest says."""
        return self._run(batch)


def _open(
    checkpoint: Path,
    config: SessionConfig,
    manifest: Manifest,
    *,
    compiles: bool = False,
    channels_last: bool = False,
    autocast: Literal["float16", "bfloat16"] | None = None,
) -> PyTorchBackend:
    """Run the checkpoint, loaded as for the export of ``manifest``.

    Args:
        compiles: by ``torch.compile``; the first call compiles, which needs a C++ compiler, and Triton on CUDA.
        channels_last: weights lie in that memory format, which convolutions hand on to their outputs.
        autocast: as :class:`PyTorchBackend` takes it.

    Raises:
        CheckpointError: the checkpoint is refused.
        MissingCapabilityError: CUDA was asked for and is missing.
    """
    import torch

    module = _module(checkpoint, manifest)
    if channels_last:
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if compiles:
        module.compile()
    return PyTorchBackend(module, config, autocast)


eager = _open
compiled = partial(_open, compiles=True)
channels_last = partial(_open, channels_last=True)
autocast_fp16 = partial(_open, autocast="float16")
autocast_bf16 = partial(_open, autocast="bfloat16")
compiled_fp16 = partial(_open, compiles=True, autocast="float16")


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
