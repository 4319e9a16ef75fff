"""Mixed precision by budget: the fewest bytes put back into float that reach the agreement asked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from vgg_calibration.layer_noise import LayerNoise
from vgg_runtime.errors import CalibrationError
from vgg_runtime.manifest import ParityFigures

__all__ = ["Budget", "Evaluate", "choose_in_float"]

# Two sets of images differ by some tenths of a dB in their signal-to-noise ratio.
MARGIN_DB = 0.5

Evaluate = Callable[[frozenset[str]], ParityFigures]


@dataclass(frozen=True)
class Budget:
    """What an 8-bit variant must reach.

    Attributes:
        min_agreement: share of images with the same best class, 0 to 1; None asks for none.
        min_snr_db: signal-to-noise ratio of the outputs in dB; None asks for none.
    """

    min_agreement: float | None = None
    min_snr_db: float | None = None

    def __bool__(self) -> bool:
        return self.min_agreement is not None or self.min_snr_db is not None

    def __str__(self) -> str:
        parts = []
        if self.min_agreement is not None:
            parts.append(f"top-1 agreement of {self.min_agreement:g}")
        if self.min_snr_db is not None:
            parts.append(f"{self.min_snr_db:g} dB")
        return " and ".join(parts)

    def with_margin(self) -> Budget:
        """Return the budget to reach on calibration images, so that other images reach this one."""
        return self if self.min_snr_db is None else replace(self, min_snr_db=self.min_snr_db + MARGIN_DB)

    def is_met(self, figures: ParityFigures) -> bool:
        """Return whether ``figures`` reach the budget."""
        snr_db = math.inf if figures.snr_db is None else figures.snr_db
        least = -math.inf if self.min_snr_db is None else self.min_snr_db
        return figures.top1_agreement >= (self.min_agreement or 0) and snr_db >= least


def choose_in_float(noise: Sequence[LayerNoise], budget: Budget, evaluate: Evaluate) -> frozenset[str]:
    """Return the names of the nodes to leave in float, few bytes of them, so that ``budget`` is met.

    Layers go back in the order of the noise that each byte of theirs makes; bisection finds the shortest prefix that
    is enough, then every layer of it that turns out not to be needed is quantized again, the largest first.

    Args:
        budget: what other images are to reach; the ones at hand have to reach it with a margin.
        evaluate: quantizes the model but for the named nodes and compares it with the float one.

    Raises:
        CalibrationError: the budget is only met with every layer in float.
    """
    goal = budget.with_margin()
    order = sorted(noise, key=lambda layer: 10 ** (-layer.snr_db / 10) / layer.bytes_saved, reverse=True)
    names = [layer.node for layer in order]
    if goal.is_met(evaluate(frozenset())):
        return frozenset()
    too_few, enough = 0, len(names)
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        if goal.is_met(evaluate(frozenset(names[:middle]))):
            enough = middle
        else:
            too_few = middle
    if enough == len(names):
        raise CalibrationError(
            f"{budget} is only reached with every layer in float, which quantizes nothing.",
            hint="Lower --min-agreement or --min-snr, or take another --calibration-method or --target.",
        )
    chosen = set(names[:enough])
    for layer in sorted(order[: enough - 1], key=lambda layer: layer.bytes_saved, reverse=True):
        if goal.is_met(evaluate(frozenset(chosen - {layer.node}))):
            chosen.discard(layer.node)
    return frozenset(chosen)
