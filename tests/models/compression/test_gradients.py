"""What the gradients say of each layer, against what happens to the outputs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from vgg_models.compression.gradients import effects_of_ranks, importance_of_responses
from vgg_models.compression.projection import Projection


class TwoLayers(nn.Module):
    """A linear network, whose outputs are changed to first order and no further; one layer leads nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(10, 6)
        self.outputs = nn.Linear(6, 4)
        self.unused = nn.Linear(10, 3)

    def forward(self, images: Tensor) -> Tensor:
        self.unused(images)
        scores: Tensor = self.outputs(self.hidden(images))
        return scores


def rows(outputs: Tensor) -> Tensor:
    return outputs[:, None]


LAYERS = dict.fromkeys(("hidden", "outputs", "unused"), rows)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_importance_is_the_mean_over_random_signs(generator: torch.Generator) -> None:
    network = TwoLayers()
    images = torch.randn(4000, 10)
    importance = importance_of_responses(network, LAYERS, [images], generator)
    weight = network.outputs.weight.detach()
    assert set(importance) == {"hidden", "outputs"}
    torch.testing.assert_close(importance["hidden"] / 4000, weight.T @ weight, rtol=0.1, atol=0.05)
    torch.testing.assert_close(importance["outputs"] / 4000, torch.eye(4), rtol=0, atol=0.05)


def test_effect_is_the_change_of_outputs(generator: torch.Generator) -> None:
    network = TwoLayers()
    images = torch.randn(4000, 10)
    responses = network.hidden(images)
    projection = Projection.of(responses.T.cov(), torch.eye(6), responses.mean(0), directions=6)
    scores = network.outputs(responses)
    whole = Projection.of(scores.T.cov(), torch.eye(4), scores.mean(0), directions=4)
    effects = effects_of_ranks(network, {"hidden": projection, "outputs": whole}, LAYERS, [images], generator)

    def change(rank: int) -> float:
        kept = projection.first(rank)
        approximate = kept.mean + (responses - kept.mean) @ kept.encode @ kept.decode.T
        return float((network.outputs(approximate) - scores).square().sum(1).mean())

    # What the last layer gives is all of the variance of the outputs.
    unit = float((scores - scores.mean(0)).square().sum(1).mean())
    assert effects["outputs"][0] == pytest.approx(1.0)
    for rank in range(7):
        assert float(effects["hidden"][rank]) == pytest.approx(change(rank) / unit, rel=0.15, abs=1e-6)


def test_effects_never_rise_with_the_rank(network: nn.Module, test_images: Tensor, generator: torch.Generator) -> None:
    responses: list[Tensor] = []
    layer = network.get_submodule("classifier.0")
    with torch.no_grad():
        handle = layer.register_forward_hook(lambda _, __, outputs: responses.append(outputs))
        network(test_images[:200])
        handle.remove()
    projection = Projection.of(
        responses[0].T.cov(), torch.eye(responses[0].shape[1]), responses[0].mean(0), directions=40
    )
    effects = effects_of_ranks(
        network, {"classifier.0": projection}, {"classifier.0": rows}, [test_images[200:232]], generator
    )
    assert torch.equal(effects["classifier.0"], effects["classifier.0"].sort(descending=True).values)
    assert effects["classifier.0"][-1] < effects["classifier.0"][0]


def test_weights_keep_no_gradients(generator: torch.Generator) -> None:
    network = TwoLayers()
    importance_of_responses(network, LAYERS, [torch.randn(8, 10)], generator)
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not any(layer._forward_hooks for layer in network.modules())


class ByteImages(nn.Module):
    """Normalizes its images in place."""

    def __init__(self, *, with_gradients: bool) -> None:
        super().__init__()
        self.layer = nn.Linear(10, 4)
        self.with_gradients = with_gradients

    def forward(self, images: Tensor) -> Tensor:
        images.div_(255)
        scores: Tensor = self.layer(images)
        return scores if self.with_gradients else scores.detach()


@pytest.mark.parametrize("with_gradients", [True, False])
def test_images_are_left_as_they_were(generator: torch.Generator, with_gradients: bool) -> None:
    images = torch.full((4, 10), 255.0)
    network = ByteImages(with_gradients=with_gradients)
    importance = importance_of_responses(network, {"layer": rows}, [images], generator)
    assert list(importance) == (["layer"] if with_gradients else [])
    assert images.min() == 255
