from __future__ import annotations

import torch
from torch import nn

from vgg_models.compression.rotation import rotate_factors


@torch.no_grad()
def test_rotation_evens_channels_and_keeps_outputs() -> None:
    torch.manual_seed(0)
    factors = nn.Sequential(
        nn.Conv2d(8, 24, (3, 1), bias=False), nn.Conv2d(24, 24, (1, 3), bias=False), nn.Conv2d(24, 8, 1)
    )
    factors[0].weight *= torch.logspace(0, -3, 24)[:, None, None, None]
    images = torch.randn(4, 8, 12, 12)
    before, spread_before = factors(images), _spread(factors[0](images))
    rotate_factors(factors, torch.Generator().manual_seed(0))
    torch.testing.assert_close(factors(images), before, rtol=1e-4, atol=1e-5)
    assert spread_before > 500
    assert _spread(factors[0](images)) < 20


def _spread(channels: torch.Tensor) -> float:
    deviations = channels.std((0, 2, 3))
    return float(deviations.max() / deviations.min())
