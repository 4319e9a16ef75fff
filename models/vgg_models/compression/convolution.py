"""A k x k convolution as a k x 1, a 1 x k and a 1 x 1 convolution with few channels between them."""

from __future__ import annotations

import math
from functools import cached_property
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from vgg_models.compression.moments import Moments, shrunk_least_squares
from vgg_models.compression.projection import Projection, bias_of

__all__ = ["ConvolutionFactorization"]

# In units of the mean variance of what is regressed on: keeps the solution of a well-posed problem finite.
RIDGE = 1e-4

# Patches that moments are taken from: so many for each number in a patch, and never fewer than that.
PATCHES_PER_NUMBER, MIN_PATCHES = 4, 1000

# An input channel whose root mean square is below this share of the mean is dead on these images.
DEAD = 1e-2

Positions = tuple[Tensor, Tensor, Tensor]


class ConvolutionFactorization:
    """The 3-D decomposition of Zhang et al. (2016), solved from the second moments of patches.

    "Accelerating very deep convolutional networks for classification and detection", IEEE TPAMI 38 (10). The responses
    are projected on their leading directions, which is a convolution of few channels and a 1 x 1 convolution. The
    kernel of the first is split into its two dimensions (Jaderberg et al., 2014), and the second of these is fitted
    again. A kernel of one row or column is not split: two convolutions take the place of the one.

    Args:
        layer: as :meth:`accepts` it.
        images: how many images will be seen in all.
    """

    def __init__(self, layer: nn.Conv2d, images: int) -> None:
        self._layer = layer
        self._padding = cast("tuple[int, int]", layer.padding)
        self._patch_size = layer.weight[0].numel()
        self._moments = Moments(self._patch_size)
        self._patches_per_image = math.ceil(max(PATCHES_PER_NUMBER * self._patch_size, MIN_PATCHES) / images)
        self._places = 0

    @staticmethod
    def accepts(layer: nn.Conv2d) -> bool:
        """Whether the layer is one group, zero-padded by numbers."""
        return layer.groups == 1 and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)

    def positions(self, outputs: Tensor, generator: torch.Generator) -> Positions:
        """Choose at random where ``outputs``, float32 (N, n, height, width), are looked at."""
        images, _, height, width = outputs.shape
        self._places = height * width
        count = min(self._patches_per_image, height * width)
        places = torch.stack([torch.randperm(height * width, generator=generator)[:count] for _ in range(images)])
        image = torch.arange(images).repeat_interleave(count)
        return image, places.flatten() // width, places.flatten() % width

    def rows(self, outputs: Tensor, positions: Positions) -> Tensor:
        """Return ``outputs`` at ``positions``: float32 (rows, n)."""
        image, row, column = positions
        return outputs[image, :, row, column]

    def add(self, inputs: Tensor, positions: Positions) -> None:
        """Count the patches of ``inputs``, float32 (N, channels, height, width), that ``positions`` are made of."""
        layer, (image, row, column) = self._layer, positions
        (top, left), (down, across), (step, stride) = self._padding, layer.dilation, layer.stride
        padded = functional.pad(inputs, (left, left, top, top))
        taps = [
            padded[image, :, row * step + i * down, column * stride + j * across]
            for i in range(layer.kernel_size[0])
            for j in range(layer.kernel_size[1])
        ]
        self._moments.add(torch.stack(taps, dim=2).flatten(1))

    def cost(self, rank: int | None) -> tuple[int, int]:
        """Return (multiply-accumulates for one image, weights) at ``rank``; None is the layer as it is."""
        channels, width = self._layer.in_channels, self._layer.out_channels
        high, wide = self._layer.kernel_size
        if rank is None:
            weights = width * self._patch_size
            return self._places * weights, weights
        if min(high, wide) == 1:
            weights = rank * (self._patch_size + width)
            return self._places * weights, weights
        first, rest = channels * high * rank, rank * wide * rank + rank * width
        # The first convolution has not been strided along the width yet.
        return self._places * (first * self._layer.stride[1] + rest), first + rest

    def all_rows(self, outputs: Tensor) -> Tensor:
        """Return ``outputs``, float32 (N, n, height, width), as (N, positions, n)."""
        return outputs.flatten(2).mT

    def projection(self, importance: Tensor) -> Projection:
        """Return all directions of the responses, those that matter most first."""
        return Projection.of(
            self._weight.T @ self._moments.covariance @ self._weight,
            importance,
            self._moments.mean @ self._weight + bias_of(self._layer),
            directions=self._layer.out_channels,
        )

    def factors(self, projection: Projection) -> nn.Sequential:
        """Return the convolutions that stand for the layer, the directions of ``projection`` between them."""
        kernel = self._weight @ projection.encode
        rank = kernel.shape[1]
        if min(self._layer.kernel_size) == 1:
            first = self._convolution(kernel.T.reshape(rank, *self._layer.weight.shape[1:]))
            return nn.Sequential(first, self._pointwise(kernel, projection))
        vertical, horizontal = self._split(kernel)
        spread = self._spread(vertical)
        covariance = spread.T @ self._moments.covariance @ spread
        horizontal = shrunk_least_squares(
            covariance, spread.T @ (self._moments.covariance @ kernel), horizontal, ridge=RIDGE
        )
        return nn.Sequential(
            self._convolution(vertical, columns=False),
            self._convolution(horizontal.T.reshape(rank, len(vertical), 1, -1), rows=False),
            self._pointwise(spread @ horizontal, projection),
        )

    @property
    def _weight(self) -> Tensor:
        """The layer as a matrix: float32 (patch numbers, n)."""
        return self._layer.weight.detach().flatten(1).T

    @cached_property
    def _channel_scale(self) -> Tensor:
        """Root mean square of each input channel."""
        squares = self._moments.covariance.diagonal() + self._moments.mean**2
        return squares.reshape(self._layer.in_channels, -1).mean(1).clamp(min=0).sqrt().clamp(min=1e-12)

    def _split(self, kernel: Tensor) -> tuple[Tensor, Tensor]:
        """Split (patch numbers, rank) by an SVD: (columns, channels, high, 1) and (columns * wide, rank)."""
        channels, rank = self._layer.in_channels, kernel.shape[1]
        high, wide = self._layer.kernel_size
        # What a channel carries counts, so it is the kernel times each channel's root mean square that is split.
        scale = self._channel_scale[:, None, None, None]
        scaled = kernel.reshape(channels, high, wide, rank) * scale
        left, values, right = torch.linalg.svd(scaled.transpose(2, 3).reshape(channels * high, -1), full_matrices=False)
        columns = min(rank, len(values))
        root = values[:columns].sqrt()
        vertical = (left[:, :columns] * root).reshape(channels, high, columns) / scale[..., 0]
        # A division by next to nothing makes weights that no quantizer can represent.
        vertical[self._channel_scale < DEAD * self._channel_scale.mean()] = 0
        horizontal = (root[:, None] * right[:columns]).reshape(columns, rank, wide)
        return vertical.permute(2, 0, 1)[..., None], horizontal.transpose(1, 2).reshape(columns * wide, rank)

    def _spread(self, vertical: Tensor) -> Tensor:
        """The vertical convolution at each column of a patch, as one matrix: (patch numbers, columns * wide)."""
        columns, channels, high, _ = vertical.shape
        wide = self._layer.kernel_size[1]
        matrix = torch.einsum("qci,jk->cijqk", vertical[..., 0], torch.eye(wide))
        return matrix.reshape(channels * high * wide, columns * wide)

    def _convolution(self, weight: Tensor, *, rows: bool = True, columns: bool = True) -> nn.Conv2d:
        """A convolution without bias that strides, pads and dilates as the layer does along rows, columns or both."""

        def along(values: tuple[int, ...], neutral: int) -> tuple[int, int]:
            return values[0] if rows else neutral, values[1] if columns else neutral

        layer, (width, channels, *_) = self._layer, weight.shape
        made = nn.Conv2d(
            channels,
            width,
            along(layer.kernel_size, 1),
            along(layer.stride, 1),
            along(self._padding, 0),
            along(layer.dilation, 1),
            bias=False,
            device="meta",
        )
        made.weight = nn.Parameter(weight.contiguous(), requires_grad=False)
        return made

    def _pointwise(self, kernel: Tensor, projection: Projection) -> nn.Conv2d:
        """The last factor: from the channels that ``kernel`` (patch numbers, rank) makes to the responses."""
        covariance, cross = (
            kernel.T @ self._moments.covariance @ kernel,
            kernel.T @ self._moments.covariance @ self._weight,
        )
        weights = shrunk_least_squares(covariance, cross, projection.decode.T, ridge=RIDGE)
        bias = self._moments.mean @ (self._weight - kernel @ weights)
        made = nn.Conv2d(weights.shape[0], weights.shape[1], 1, device="meta")
        made.weight = nn.Parameter(weights.T[..., None, None].contiguous(), requires_grad=False)
        made.bias = nn.Parameter(bias + bias_of(self._layer), requires_grad=False)
        return made
