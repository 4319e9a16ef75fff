"""PyTorch's own dynamic quantization of the fully connected layers."""

from __future__ import annotations

import importlib
import warnings
from typing import TYPE_CHECKING, Any

from vgg_runtime.errors import CalibrationError, MissingCapabilityError

if TYPE_CHECKING:
    from torch import nn

__all__ = ["torch_linear_int8_dynamic"]

# The module of quantize_dynamic: torch.ao, until it moves out of torch, as its deprecation announces.
_HOMES = ("torch.ao.quantization", "torchao.quantization.pt2e")


def torch_linear_int8_dynamic(module: nn.Module) -> nn.Module:
    """Return a copy of ``module`` whose Linear layers have int8 weights and quantize their inputs on the fly.

    Raises:
        CalibrationError: the network has no Linear layer.
        MissingCapabilityError: the installed torch has no dynamic quantization, or no engine for it.
    """
    import torch

    if not any(isinstance(layer, torch.nn.Linear) for layer in module.modules()):
        raise CalibrationError(
            "the network has no Linear layer, so dynamic quantization has nothing to quantize.",
            hint="Use `quantize=['static']` with `calibration=DIR`, which quantizes convolutions.",
        )
    quantize_dynamic = _find_quantize_dynamic()
    if torch.backends.quantized.engine in (None, "none"):
        raise MissingCapabilityError("this PyTorch has no engine for quantized layers (torch.backends.quantized).")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of its removal from torch
        quantized: nn.Module = quantize_dynamic(module, {torch.nn.Linear}, dtype=torch.qint8)
    return quantized


def _find_quantize_dynamic() -> Any:
    for home in _HOMES:
        try:
            return importlib.import_module(home).quantize_dynamic
        except (ImportError, AttributeError):
            continue
    raise MissingCapabilityError(
        "this PyTorch no longer has quantize_dynamic.", hint="Use `formats=['onnx']`, whose quantizers do not need it."
    )
