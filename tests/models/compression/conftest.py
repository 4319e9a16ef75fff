"""What the tests share: the trained example and its images, the same numbers each time, and no gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vgg_models import load_model


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    torch.manual_seed(0)
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def network(example: Any) -> nn.Module:
    return load_model(example.checkpoint).module


@pytest.fixture(scope="module")
def train_images(train_photos: tuple[np.ndarray, np.ndarray]) -> Tensor:
    """300 images that the network was trained on."""
    return _normalized(train_photos[0])


@pytest.fixture(scope="module")
def test_images(test_photos: tuple[np.ndarray, np.ndarray]) -> Tensor:
    """500 images that it was not trained on."""
    return _normalized(test_photos[0])


@pytest.fixture(scope="session")
def agreement() -> Callable[[nn.Module, nn.Module, Tensor], float]:
    """Return the share of images for which two networks give the same best class."""

    @torch.inference_mode()
    def compare(network: nn.Module, other: nn.Module, images: Tensor) -> float:
        return (network(images).argmax(1) == other(images).argmax(1)).float().mean().item()

    return compare


def _normalized(images: np.ndarray) -> Tensor:
    return torch.from_numpy((images[:, None].astype(np.float32) / 255 - 0.2860) / 0.3530)
