"""A network that is small enough to export in every test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from vgg_runtime.bundle.manifest import InputSpec

SmallNetwork = Callable[..., nn.Sequential]


@pytest.fixture
def input_spec() -> InputSpec:
    return InputSpec(("batch", 1, 8, 8))


@pytest.fixture
def small_network() -> SmallNetwork:
    """Make a seeded convolution, BatchNorm and Linear for one 8 x 8 plane and six classes, with ``ending`` behind."""

    def make(*ending: nn.Module) -> nn.Sequential:
        torch.manual_seed(0)
        layers = [nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
        network = nn.Sequential(*layers, nn.Linear(64, 6), *ending)
        network[1].running_mean.uniform_(-1, 1)
        network[1].running_var.uniform_(0.5, 2)
        return network.eval()

    return make


@pytest.fixture
def small_checkpoint(small_network: SmallNetwork, tmp_path: Path) -> Callable[..., Path]:
    """Save the small network whole, as ``torch.save(model, path)`` does."""

    def save(*ending: nn.Module) -> Path:
        path = tmp_path / "small.pth"
        torch.save(small_network(*ending), path)
        return path

    return save
