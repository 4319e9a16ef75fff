"""The directions of a layer's responses that matter to what the network answers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = ["Projection", "bias_of"]

# In units of the mean importance: how much a direction counts in which no gradient was seen.
UNSEEN_IMPORTANCE = 0.1

# Directions that a randomized SVD looks for besides those that are wanted (Halko et al., 2011).
OVERSAMPLING = 48


@dataclass(frozen=True)
class Projection:
    """Responses y of n channels as few numbers: ``mean + decode @ (encode.T @ (y - mean))``.

    Attributes:
        encode: float32 (n, directions), the direction that matters most first.
        decode: float32 (n, directions); ``encode.T @ decode`` is the identity.
        mean: float32 (n,), of the responses.
    """

    encode: Tensor
    decode: Tensor
    mean: Tensor

    @classmethod
    def of(cls, covariance: Tensor, importance: Tensor, mean: Tensor, *, directions: int) -> Projection:
        """Return the projection of each rank that changes the network's outputs least.

        To first order an error e of the responses changes an output by g'e, where g is the output's gradient. With
        S = E[gg'] = LL', the projection of rank r with the least ``E|L'e|²`` is ``L⁻ᵀ U U' Lᵀ``, where U are the r
        leading eigenvectors of ``L' cov(y) L`` (a low rank weighted by Fisher information: Hsu et al., 2022; there S is
        diagonal).

        Args:
            covariance: cov(y), float32 (n, n).
            importance: S, float32 (n, n); zeros where nothing is known of it.
            mean: float32 (n,).
            directions: how many are wanted, at most.
        """
        scale = importance.diagonal().mean()
        weights = importance / scale if scale > 0 else torch.zeros_like(importance)
        weights.diagonal().add_(UNSEEN_IMPORTANCE)
        root = torch.linalg.cholesky(weights)
        leading = _eigenvectors(root.T @ covariance @ root, directions)
        return cls(root @ leading, torch.linalg.solve_triangular(root.T, leading, upper=True), mean)

    def first(self, rank: int) -> Projection:
        """Return the projection on the first ``rank`` directions."""
        return Projection(self.encode[:, :rank], self.decode[:, :rank], self.mean)


def bias_of(layer: nn.Conv2d | nn.Linear) -> Tensor:
    """Return the bias, zeros where there is none: float32 (n,)."""
    return torch.zeros(len(layer.weight)) if layer.bias is None else layer.bias.detach()


def _eigenvectors(symmetric: Tensor, count: int) -> Tensor:
    """Return the eigenvectors of the ``count`` largest eigenvalues, the largest first: float32 (n, count)."""
    if count + OVERSAMPLING > len(symmetric) // 4:
        vectors: Tensor = torch.linalg.eigh(symmetric.double())[1].flip(1).float()
    else:
        vectors = torch.svd_lowrank(symmetric, q=count + OVERSAMPLING, niter=2)[0]
    return vectors[:, :count]
