"""How many channels each layer keeps, for a network of a given cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from torch import Tensor

__all__ = ["LayerOptions", "Ranks", "allocate"]

# None leaves a layer as it is.
Ranks: TypeAlias = Mapping[str, int | None]

# Engines compute in blocks of channels.
MULTIPLE = 8

# Prices between which a network costs next to nothing and as much as it did.
PRICES = np.geomspace(1e-6, 1e3, 2000)


@dataclass(frozen=True)
class LayerOptions:
    """The ranks that a layer may have, and what they cost and lose.

    Attributes:
        ranks: ascending; the last one is None.
        costs: of each: its share of the network's multiply-accumulates plus its share of the network's weights.
        losses: of each: what it changes in the network's outputs, as a mean square in units that all layers share.
    """

    ranks: tuple[int | None, ...]
    costs: tuple[float, ...]
    losses: tuple[float, ...]

    @classmethod
    def of(cls, losses: Tensor, cost: Callable[[int | None], float]) -> LayerOptions:
        """List the ranks that make the layer cheaper, and the layer as it is.

        Args:
            losses: at rank 0, 1, 2, ...
            cost: of a rank.
        """
        ranks = [rank for rank in range(MULTIPLE, len(losses), MULTIPLE) if cost(rank) < cost(None)]
        costs = (cost(rank) for rank in (*ranks, None))
        return cls((*ranks, None), tuple(costs), (*(float(losses[rank]) for rank in ranks), 0.0))

    def choose(self, price: float) -> int:
        """Return the index of the option with the least loss plus ``price`` times its cost."""
        return int(np.argmin(np.array(self.losses) + price * np.array(self.costs)))


def allocate(layers: Mapping[str, LayerOptions], fits: Callable[[Ranks], bool]) -> Ranks:
    """Return the ranks that lose least among those that ``fits`` accepts.

    The losses of the layers add up, as independent noise does, so one price for cost makes the best choice in every
    layer (a Lagrangian; Shoham and Gersho, 1988). The lowest price whose ranks fit is searched by bisection.

    Args:
        fits: true for every network that is cheap enough.
    """

    def at(price: float) -> Ranks:
        return {name: options.ranks[options.choose(price)] for name, options in layers.items()}

    low, high = 0, len(PRICES) - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(at(PRICES[middle])) else (middle + 1, high)
    return at(PRICES[low])
