"""Directions of responses against a dense optimum."""

from __future__ import annotations

import torch

from vgg_models.compression.projection import UNSEEN_IMPORTANCE, Projection


def test_projection_changes_outputs_least_of_its_rank() -> None:
    """After the root of the importance the best projection is the one on the principal components."""
    responses = torch.randn(300, 12) @ torch.randn(12, 12)
    covariance = (responses.T @ responses / len(responses)).double()
    gradients = torch.randn(5, 12)
    importance = gradients.T @ gradients
    projection = Projection.of(covariance.float(), importance, torch.zeros(12), directions=12).first(4)
    weights = importance.double() / importance.diagonal().mean() + UNSEEN_IMPORTANCE * torch.eye(12)
    values, vectors = torch.linalg.eigh(weights)
    root = vectors * values.sqrt() @ vectors.T
    rest = torch.eye(12) - (projection.decode @ projection.encode.T)
    lost = torch.trace(root @ rest.double() @ covariance @ rest.double().T @ root)
    least = torch.linalg.eigvalsh(root @ covariance @ root)[:-4].sum()
    torch.testing.assert_close(lost, least, rtol=1e-4, atol=0)
    torch.testing.assert_close(projection.encode.T @ projection.decode, torch.eye(4), rtol=0, atol=1e-5)


def test_directions_are_principal_where_nothing_is_known() -> None:
    covariance = torch.diag(torch.tensor([1.0, 4.0, 2.0, 3.0]))
    projection = Projection.of(covariance, torch.zeros(4, 4), torch.zeros(4), directions=2)
    expected = torch.zeros(4, 4)
    expected[1, 1] = expected[3, 3] = 1
    torch.testing.assert_close(projection.decode @ projection.encode.T, expected)
