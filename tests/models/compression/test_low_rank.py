"""The low-rank networks that stand for a trained one."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn

from vgg_models.compression.low_rank import LowRankNetwork
from vgg_models.costs import layer_table

Agreement = Callable[[nn.Module, nn.Module, Tensor], float]


@pytest.fixture(scope="module")
def images(train_images: Tensor) -> Sequence[Tensor]:
    return train_images.split(60)


@pytest.fixture(scope="module")
def low_rank(network: nn.Module, images: Sequence[Tensor]) -> LowRankNetwork:
    return LowRankNetwork(network, images)


def test_a_third_of_the_operations_keep_the_answers(
    network: nn.Module, low_rank: LowRankNetwork, agreement: Agreement, test_images: Tensor
) -> None:
    ranks = low_rank.ranks(speedup=3)
    compressed = low_rank.build(ranks)
    before, after = (layer_table(module, (1, 28, 28)) for module in (network, compressed))
    cost = low_rank.cost(ranks)
    assert cost.macs == after.macs <= before.macs / 3
    assert cost.parameters == after.parameters < before.parameters / 3
    assert agreement(network, compressed, test_images) > 0.97


def test_refit_brings_more_agreement(
    network: nn.Module, low_rank: LowRankNetwork, agreement: Agreement, test_images: Tensor
) -> None:
    ranks = low_rank.ranks(speedup=5)
    with_refit, without = (
        agreement(network, low_rank.build(ranks, refit=refit), test_images) for refit in (True, False)
    )
    assert with_refit > without


def test_the_network_is_left_as_it_was(network: nn.Module, images: Sequence[Tensor]) -> None:
    before = copy.deepcopy(network.state_dict())
    low_rank = LowRankNetwork(network, images[:2])
    low_rank.build(low_rank.ranks(speedup=2))
    assert list(network.state_dict()) == list(before)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in network.modules())


def test_the_same_seed_gives_the_same_weights(network: nn.Module, images: Sequence[Tensor]) -> None:
    built = [LowRankNetwork(network, images[:2], seed=seed) for seed in (3, 3, 4)]
    first, second, other = (each.build(each.ranks(speedup=2)).state_dict() for each in built)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(first[name].shape != other[name].shape or not torch.equal(first[name], other[name]) for name in first)


def test_no_ranks_is_the_network_itself(
    network: nn.Module, low_rank: LowRankNetwork, agreement: Agreement, test_images: Tensor
) -> None:
    assert low_rank.cost({}).macs == layer_table(network, (1, 28, 28)).macs
    assert agreement(network, low_rank.build({}), test_images) == 1


class Residual(nn.Module):
    """One layer that runs twice, one with two names, one with a hook, one grouped, one in a branch, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 32, 3, padding=1)
        self.twice = nn.Conv2d(32, 32, 3, padding=1)
        self.shared = nn.Conv2d(32, 32, 3, padding=1)
        self.alias = self.shared
        self.hooked = nn.Conv2d(32, 32, 3, padding=1)
        self.hooked.register_forward_hook(lambda layer, inputs, outputs: outputs * 2)
        self.grouped = nn.Conv2d(32, 32, 3, padding=1, groups=32)
        self.branch = nn.Conv2d(32, 32, 3, padding=1)
        self.head = nn.Linear(32, 10)

    def forward(self, images: Tensor) -> Tensor:
        rows = self.stem(images).relu_()
        rows = self.twice(self.twice(rows).relu_()).relu_()
        rows = self.grouped(self.hooked(self.shared(rows).relu_()))
        rows = (rows + self.branch(rows)).relu_()
        scores: Tensor = self.head(rows.mean((2, 3)))
        return scores


def test_only_what_can_be_told_apart_is_factorized(images: Sequence[Tensor]) -> None:
    torch.manual_seed(0)
    network = Residual().eval()
    low_rank = LowRankNetwork(network, images)
    ranks = low_rank.ranks(speedup=100)
    assert {name for name, rank in ranks.items() if rank is not None} == {"branch"}
    assert type(low_rank.build(ranks).get_submodule("branch")) is nn.Sequential
    assert low_rank.cost({}).macs == layer_table(network, (1, 28, 28)).macs
