"""Factors of a linear layer against the dense optimum under the covariance of its inputs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from vgg_models.compression.linear import UNSEEN, LinearFactorization


def factorization(layer: nn.Linear, *batches: Tensor) -> LinearFactorization:
    result = LinearFactorization(layer, sum(map(len, batches)))
    generator = torch.Generator().manual_seed(0)
    for batch in batches:
        result.add(batch, result.positions(layer(batch), generator))
    return result


def random_importance(outputs: int) -> Tensor:
    gradients = torch.randn(3 * outputs, outputs)
    return gradients.T @ gradients


def test_factors_at_full_rank_equal_the_layer() -> None:
    layer, inputs = nn.Linear(30, 20), torch.randn(200, 30) + 2
    statistics = factorization(layer, inputs)
    factors = statistics.factors(statistics.projection(random_importance(20)))
    torch.testing.assert_close(factors(inputs), layer(inputs), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("outputs", [24, 400], ids=["eigenvectors", "randomized"])
def test_factors_are_the_best_weights_of_their_rank(outputs: int) -> None:
    """Eckart and Young: after C^(1/2) the best weights of rank r are the truncated SVD."""
    layer = nn.Linear(60, outputs, bias=False)
    inputs = torch.randn(240, 60) * torch.logspace(0, -2, 60)
    statistics = factorization(layer, *inputs.split(100))
    centered = (inputs - inputs.mean(0)).double()
    covariance = centered.T @ centered / len(centered)
    covariance += UNSEEN * covariance.diagonal().mean() * torch.eye(60)
    values, vectors = torch.linalg.eigh(covariance)
    root = vectors * values.sqrt() @ vectors.T
    left, singular, _ = torch.linalg.svd(layer.weight.double() @ root, full_matrices=False)
    best = left[:, :8] @ left[:, :8].T @ layer.weight.double()
    first, second = statistics.factors(statistics.projection(torch.eye(outputs)).first(8))
    difference = (second.weight @ first.weight - best).double() @ root
    assert difference.norm() < 1e-3 * singular.norm()


def test_there_are_no_more_directions_than_rows() -> None:
    layer = nn.Linear(64, 64)
    assert factorization(layer, torch.randn(40, 64)).projection(torch.eye(64)).encode.shape == (64, 40)


def test_rows_of_tokens_are_sampled() -> None:
    layer, inputs = nn.Linear(16, 12), torch.randn(5, 2000, 16)
    statistics = factorization(layer, inputs)
    assert statistics.cost(None) == (2000 * 16 * 12, 16 * 12)
    factors = statistics.factors(statistics.projection(torch.eye(12)))
    torch.testing.assert_close(factors(inputs), layer(inputs), rtol=1e-4, atol=1e-5)
