"""The backend for TorchScript variants, which plugs into the runtime by an entry point."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from vgg_export.backends.torch_device import torch_device
from vgg_export.exporters.torchscript import load_torchscript
from vgg_runtime._internal.signal_errors import reraise_from_signal_handler
from vgg_runtime.backends.base import SessionConfig
from vgg_runtime.backends.onnxruntime_cpu import is_out_of_memory
from vgg_runtime.bundle.embedded_manifest import METADATA_KEY
from vgg_runtime.errors import BundleError, MissingCapabilityError, OutOfMemoryError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vgg_runtime.bundle.manifest import InputArray

__all__ = ["TorchScriptBackend"]


class TorchScriptBackend:
    """One TorchScript archive. It is code: only run what this project wrote for you.

    Raises:
        BundleError: it is damaged, or PyTorch can't load it.
        MissingCapabilityError: torch is not installed, or CUDA was asked for and is missing.
        OutOfMemoryError: there is too little memory.
    """

    def __init__(self, model: Path, config: SessionConfig) -> None:
        try:
            import torch
        except ImportError as error:
            raise MissingCapabilityError(
                "a TorchScript variant needs PyTorch, which is not installed.",
                hint='Use an onnx-* variant, or install PyTorch: pip install "vgg-deploy[export,cpu]".',
            ) from error
        self.device = torch_device(config)
        self.device_reason = "as asked"
        if config.device == "auto":
            self.device_reason = f"torch.cuda.is_available() is {torch.cuda.is_available()}"
        try:
            self._run, metadata = load_torchscript(model, device=self.device)
        except Exception as error:  # of many kinds, if the archive or its code is damaged
            reraise_from_signal_handler(error)
            text = f"{model} cannot be loaded: {_cause(error)}"
            if is_out_of_memory(error):
                raise OutOfMemoryError(text, hint="Use a smaller variant, or a device with more memory.") from error
            raise BundleError(text, hint="Run vgg-run verify on the bundle.") from error
        self.metadata: Mapping[str, str] = {METADATA_KEY: metadata}

    def run(self, batch: InputArray) -> NDArray[np.float32]:
        """Return outputs (batch, classes) for a ``batch`` of the dtype and layout that the manifest says.

        Raises:
            BundleError: the archive does not run on it.
            OutOfMemoryError: there is too little memory.
        """
        try:
            return self._run(batch)
        except Exception as error:  # whatever its code does
            reraise_from_signal_handler(error)
            text = f"PyTorch cannot run the model on a batch of shape {list(batch.shape)}: {_cause(error)}"
            if is_out_of_memory(error):
                raise OutOfMemoryError(text, hint="Use a smaller batch, or a device with more memory.") from error
            raise BundleError(text, hint="The model does not fit the manifest; export the checkpoint again.") from error


def _cause(error: Exception) -> str:
    """The first line of the reason, before which the interpreter of TorchScript puts a trace."""
    return str(error).rpartition("RuntimeError: ")[2].strip().partition("\n")[0] or type(error).__name__
