"""Factors of a convolution against the convolution itself and against a dense solution."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from vgg_models.compression.convolution import ConvolutionFactorization
from vgg_models.compression.rotation import rotate_factors


def factorization(layer: nn.Conv2d, inputs: Tensor) -> ConvolutionFactorization:
    result = ConvolutionFactorization(layer, len(inputs))
    result.add(inputs, result.positions(layer(inputs), torch.Generator().manual_seed(0)))
    return result


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 16, 3, padding=1),
        nn.Conv2d(3, 16, 5, padding=(1, 2), bias=False),
        nn.Conv2d(5, 16, 3, stride=2, padding=(2, 0)),
        nn.Conv2d(4, 20, (5, 3), stride=(1, 2), dilation=(2, 1)),
        nn.Conv2d(8, 12, 1, stride=2),
        nn.Conv2d(3, 4, (1, 3), stride=(2, 1), padding=(0, 1)),
        nn.Conv2d(3, 4, (3, 1), dilation=(2, 1)),
    ],
    ids=lambda layer: f"{layer.in_channels}-{layer.kernel_size}-{layer.stride}-{layer.dilation}",
)
def test_factors_at_full_rank_equal_the_layer(layer: nn.Conv2d) -> None:
    inputs = torch.randn(40, layer.in_channels, 14, 17)
    statistics = factorization(layer, inputs)
    importance = torch.diag(torch.rand(layer.out_channels) + 0.1)
    rank = min(layer.out_channels, layer.weight[0].numel())
    factors = statistics.factors(statistics.projection(importance).first(rank))
    rotate_factors(factors, torch.Generator().manual_seed(1))
    torch.testing.assert_close(factors(inputs), layer(inputs), rtol=1e-4, atol=1e-5)
    assert len(factors) == (2 if min(layer.kernel_size) == 1 else 3)


def test_pointwise_factors_equal_principal_components() -> None:
    """Of a 1 x 1 convolution the best rank-r responses are their projection on r principal components."""
    layer = nn.Conv2d(12, 20, 1)
    inputs = torch.randn(30, 12, 8, 8) * torch.linspace(0.2, 3, 12)[:, None, None]
    outputs = layer(inputs)
    rows = outputs.movedim(1, 3).reshape(-1, 20).double()
    mean = rows.mean(0)
    _, _, right = torch.linalg.svd(rows - mean, full_matrices=False)
    best = (rows - mean) @ right[:5].T @ right[:5] + mean
    statistics = factorization(layer, inputs)
    ours = (
        statistics.factors(statistics.projection(torch.eye(20)).first(5))(inputs).movedim(1, 3).reshape(-1, 20).double()
    )
    error, least = (ours - rows).square().mean(), (best - rows).square().mean()
    # 1,020 patches are sampled, and the dense solution sees all 1,920.
    assert least <= error < 1.02 * least


def test_channels_dead_on_the_images_get_no_weights() -> None:
    layer = nn.Conv2d(8, 16, 3, padding=1)
    inputs = functional.relu(torch.randn(30, 8, 9, 9))
    inputs[:, 5] *= 1e-4
    statistics = factorization(layer, inputs)
    vertical = statistics.factors(statistics.projection(torch.eye(16)).first(12))[0]
    largest = vertical.weight.abs().amax((0, 2, 3))
    assert largest[5] == 0
    assert largest[4] > 0


def test_costs_are_those_of_the_factors_made() -> None:
    layer = nn.Conv2d(6, 16, 3, stride=(1, 2), padding=1)
    inputs = torch.randn(20, 6, 10, 12)
    statistics = factorization(layer, inputs)
    factors = statistics.factors(statistics.projection(torch.eye(16)).first(8))
    macs, weights = statistics.cost(8)
    assert weights == sum(factor.weight.numel() for factor in factors)
    counted, rows = 0, inputs[:1]
    for factor in factors:
        rows = factor(rows)
        counted += rows[0, 0].numel() * factor.weight.numel()
    assert macs == counted
    assert statistics.cost(None) == (layer.weight.numel() * 10 * 6, layer.weight.numel())


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 4, 3, groups=2),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(4, 4, 3, padding="same"),
    ],
    ids=["grouped", "reflected", "same"],
)
def test_other_convolutions_are_not_accepted(layer: nn.Conv2d) -> None:
    assert not ConvolutionFactorization.accepts(layer)
