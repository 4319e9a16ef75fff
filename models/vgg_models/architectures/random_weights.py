"""Seeded weights to measure size and speed with: activations neither vanish nor explode."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

__all__ = ["build_random"]

_BATCH = 8  # enough for the variance of feature maps of 1x1


def build_random(
    build: Callable[[], nn.Module], *, seed: int, input_channels: int, input_size: tuple[int, int], kaiming: bool
) -> nn.Module:
    """Build a module with the same weights for the same seed, without changing the global random state.

    Args:
        kaiming: draw the weights of all convolutions and Linear layers again (He et al., 2015); otherwise only those
            that ``build`` left at zero, as in some heads. BatchNorm gets the statistics of one batch of noise.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        module = build()
        _draw_weights(module, only_zeros=not kaiming)
        _settle_batch_norms(module, torch.randn(_BATCH, input_channels, *input_size))
    return module.eval()


def _draw_weights(module: nn.Module, *, only_zeros: bool) -> None:
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)) and not (only_zeros and layer.weight.any()):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def _settle_batch_norms(module: nn.Module, images: torch.Tensor) -> None:
    """With its initial statistics a BatchNorm in eval mode does nothing, so that residual sums would grow."""
    norms = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    module.eval()
    for norm in norms:
        norm.train()
        norm.momentum = 1.0  # the statistics of this batch only
    module(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
