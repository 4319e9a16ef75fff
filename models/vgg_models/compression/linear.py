"""A fully connected layer as two with few numbers between them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vgg_models.compression.projection import Projection, bias_of

__all__ = ["LinearFactorization"]

# In units of the mean variance of an input: how much directions count that the images don't show.
UNSEEN = 0.1

# Rows of responses that are kept.
MAX_ROWS = 4096


class LinearFactorization:
    """The best weights of a low rank for the inputs that were seen.

    With C the covariance of the inputs and λ a ridge, the projection of each rank is that of responses with the
    covariance ``W (C + λI) W' = cov(W x) + λ W W'``. Where all responses matter alike, the W' of rank r with the least
    ``|(W - W') (C + λI)^(1/2)|`` follows. It takes the responses alone: neither C, of 25,088 x 25,088 for a VGG-16, nor
    the inputs have to be kept.

    Args:
        layer: any.
        images: how many images will be seen in all.
    """

    def __init__(self, layer: nn.Linear, images: int) -> None:
        self._layer = layer
        self._rows_per_image = max(1, MAX_ROWS // images)
        self._responses: list[Tensor] = []
        self._sums = torch.zeros(2, layer.in_features, dtype=torch.float64)
        self._count = self._places = 0

    @staticmethod
    def accepts(layer: nn.Linear) -> bool:
        """Whether the layer can be factorized: any can."""
        return True

    def positions(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        """Choose at random which rows of ``outputs``, float32 (N, ..., n), are looked at."""
        rows = outputs.flatten(0, -2).shape[0]
        self._places = rows // len(outputs)
        return torch.randperm(rows, generator=generator)[: self._rows_per_image * len(outputs)]

    def rows(self, outputs: Tensor, positions: Tensor) -> Tensor:
        """Return ``outputs`` at ``positions``: float32 (rows, n)."""
        return outputs.flatten(0, -2)[positions]

    def add(self, inputs: Tensor, positions: Tensor) -> None:
        """Count the rows of ``inputs``, float32 (N, ..., d), at ``positions``."""
        rows = self.rows(inputs, positions)
        self._sums += torch.stack([rows.sum(0, dtype=torch.float64), rows.square().sum(0, dtype=torch.float64)])
        self._responses.append(rows @ self._layer.weight.T)
        self._count += len(rows)

    def cost(self, rank: int | None) -> tuple[int, int]:
        """Return (multiply-accumulates for one image, weights) at ``rank``; None is the layer as it is."""
        wide, narrow = self._layer.in_features, self._layer.out_features
        weights = wide * narrow if rank is None else rank * (wide + narrow)
        return self._places * weights, weights

    def all_rows(self, outputs: Tensor) -> Tensor:
        """Return ``outputs``, float32 (N, ..., n), as (N, positions, n)."""
        return outputs.reshape(len(outputs), -1, outputs.shape[-1])

    def projection(self, importance: Tensor) -> Projection:
        """Return the directions of the responses that matter, no more than there were rows."""
        weight, responses = self._layer.weight.detach(), torch.cat(self._responses)
        centered = responses - responses.mean(0)
        mean, square = self._sums / self._count
        unseen = UNSEEN * (square - mean**2).mean().float()
        covariance = centered.T @ centered / len(centered) + unseen * (weight @ weight.T)
        directions = max(1, min(*weight.shape, len(responses)))
        return Projection.of(covariance, importance, responses.mean(0) + bias_of(self._layer), directions=directions)

    def factors(self, projection: Projection) -> nn.Sequential:
        """Return the two layers that stand for the layer, the directions of ``projection`` between them."""
        encode, decode, mean = projection.encode, projection.decode, projection.mean
        bias = mean - decode @ (encode.T @ (mean - bias_of(self._layer)))
        return nn.Sequential(_linear(encode.T @ self._layer.weight.detach()), _linear(decode, bias))


def _linear(weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    made = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    made.weight = nn.Parameter(weight.contiguous(), requires_grad=False)
    if bias is not None:
        made.bias = nn.Parameter(bias, requires_grad=False)
    return made
