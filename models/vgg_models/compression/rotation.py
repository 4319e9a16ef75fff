"""Random rotations between the factors of a layer, which even out their channels before they are quantized."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

__all__ = ["rotate_factors"]


def rotate_factors(factors: nn.Sequential, generator: torch.Generator) -> None:
    """Rotate the numbers between linear layers in place; what the sequence computes stays the same.

    The directions of a factorization differ in variance by orders of magnitude, and a few large channels set the step
    of 8-bit activations for all. After a rotation each carries about the mean.

    Args:
        factors: convolutions of one group or linear layers, all but the last without a bias, nothing in between.
    """
    for first, second in pairwise(layer.get_parameter("weight") for layer in factors):
        # Orthogonal, and uniformly distributed but for signs.
        rotation = torch.linalg.qr(torch.randn(len(first), len(first), generator=generator))[0]
        first.data = torch.einsum("ab,b...->a...", rotation, first)
        second.data = torch.einsum("ob...,ab->oa...", second, rotation)
