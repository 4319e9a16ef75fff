from __future__ import annotations

import pytest
import torch

from vgg_models import load_model


@pytest.mark.parametrize(
    "name", ["vgg11", "vgg11-lrn", "vgg16-1x1_bn", "vgg19_bn", "torchvision:mobilenet_v3_small", "torchvision:resnet18"]
)
def test_activations_neither_vanish_nor_explode(name: str) -> None:
    loaded = load_model(f"random:{name}", input_size=(32, 32), num_classes=10)
    logits = loaded.module(torch.randn(8, 3, 32, 32))
    assert logits.shape == (8, 10)
    assert 0.005 < logits.std() < 50
    assert logits.std(dim=0).min() > 0  # the image still matters


def test_the_seed_decides_and_the_global_state_is_left_alone() -> None:
    def weights(seed: int) -> torch.Tensor:
        return next(load_model("random:torchvision:squeezenet1_1", seed=seed, input_size=(64, 64)).module.parameters())

    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first = weights(1)
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(first, weights(1))
    assert not torch.equal(first, weights(2))


def test_random_weights_are_marked_as_such() -> None:
    loaded = load_model("random:vgg11", input_size=(32, 32), input_channels=1, num_classes=4)
    assert loaded.checkpoint.kind == "random"
    assert "for size and speed only" in loaded.checkpoint.notes[0]
    assert (loaded.input_channels, loaded.num_classes) == (1, 4)
