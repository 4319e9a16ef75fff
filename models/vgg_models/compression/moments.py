"""Means and second moments of rows, and the least squares that are solved from them."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

__all__ = ["Moments", "shrunk_least_squares"]


class Moments:
    """Mean and covariance of rows that arrive in batches; memory depends on ``size`` alone.

    Args:
        size: numbers per row; the products take ``4 * size ** 2`` bytes.
    """

    def __init__(self, size: int) -> None:
        self._count = 0
        self._sum = torch.zeros(size, dtype=torch.float64)
        self._products = torch.zeros(size, size)

    def add(self, rows: Tensor) -> None:
        """Count ``rows``: float32 (N, size)."""
        self._count += len(rows)
        self._sum += rows.sum(0, dtype=torch.float64)
        self._products.addmm_(rows.T, rows)

    @property
    def mean(self) -> Tensor:
        """float32 (size,)."""
        return (self._sum / self._count).float()

    @cached_property
    def covariance(self) -> Tensor:
        """float32 (size, size). It takes the place of the products: no rows can be added any more."""
        return self._products.div_(self._count).addr_(self.mean, self.mean, alpha=-1)


def shrunk_least_squares(covariance: Tensor, cross: Tensor, weights: Tensor, *, ridge: float) -> Tensor:
    """Return the linear map from x to y with the least squared error, shrunk towards ``weights``.

    The map W minimizes ``E|y - W'x|² + ridge · mean(var(x)) · |W - weights|²`` for x and y without their means. Where
    ``weights`` fit y already, they are returned as they are.

    Args:
        covariance: of x, float32 (d, d).
        cross: covariance of x with y, float32 (d, n).
        weights: float32 (d, n).
    """
    regularized = covariance.double()
    diagonal = regularized.diagonal()
    diagonal.add_(ridge * diagonal.mean() + torch.finfo(torch.float32).tiny)
    residual = cross - covariance @ weights
    correction: Tensor = torch.linalg.solve(regularized, residual.double())
    return weights + correction.float()
