from __future__ import annotations

from itertools import product

import torch

from vgg_models.compression.ranks import LayerOptions, Ranks, allocate

# The losses of a convex layer, and those of one whose directions are all alike.
STEEP = LayerOptions((8, 16, 24, None), (0.1, 0.2, 0.3, 0.5), (0.3, 0.1, 0.02, 0.0))
FLAT = LayerOptions((8, 16, 24, None), (0.1, 0.2, 0.3, 0.5), (0.75, 0.5, 0.25, 0.0))


def test_options_end_where_the_factors_cost_as_much() -> None:
    options = LayerOptions.of(torch.linspace(1, 0, 65), lambda rank: 1.0 if rank is None else rank / 40)
    assert options.ranks == (8, 16, 24, 32, None)
    assert options.costs == (0.2, 0.4, 0.6, 0.8, 1.0)
    assert options.losses[-1] == 0
    assert options.losses[0] == 1 - 8 / 64


def test_ranks_lose_least_of_all_that_cost_the_same() -> None:
    layers = {"steep": STEEP, "flat": FLAT, "steep too": STEEP}

    def cost(ranks: Ranks) -> float:
        return sum(layers[name].costs[layers[name].ranks.index(rank)] for name, rank in ranks.items())

    def loss(ranks: Ranks) -> float:
        return sum(layers[name].losses[layers[name].ranks.index(rank)] for name, rank in ranks.items())

    every = [
        dict(zip(layers, choice, strict=True)) for choice in product(*(options.ranks for options in layers.values()))
    ]
    for budget in (0.3, 0.7, 0.9, 1.1, 1.5):
        ranks = allocate(layers, lambda ranks, budget=budget: cost(ranks) <= budget + 1e-9)
        assert cost(ranks) <= budget + 1e-9
        assert loss(ranks) == min(loss(other) for other in every if cost(other) <= cost(ranks) + 1e-9)


def test_ranks_are_the_lowest_where_nothing_fits() -> None:
    assert allocate({"layer": STEEP}, lambda _: False) == {"layer": 8}
