"""Mixed precision: the fewest bytes put back into float that reach the agreement that is needed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from vgg_calibration.statistics.sensitivity import LayerSensitivity
from vgg_runtime.bundle.manifest import ParityFigures, Tolerance

__all__ = ["AccuracyTarget", "Evaluate", "Goal", "choose_in_float"]

# Two sets of images differ by some tenths of a dB in their signal-to-noise ratio.
MARGIN_DB = 0.5

Evaluate = Callable[[frozenset[str]], ParityFigures]
IsEnough = Callable[[ParityFigures], bool]


@dataclass(frozen=True)
class AccuracyTarget:
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

    def with_margin(self) -> AccuracyTarget:
        """Return the budget to reach on calibration images, so that other images reach this one."""
        return self if self.min_snr_db is None else replace(self, min_snr_db=self.min_snr_db + MARGIN_DB)

    def is_met(self, figures: ParityFigures) -> bool:
        """Return whether ``figures`` reach the budget."""
        snr_db = math.inf if figures.snr_db is None else figures.snr_db
        least = -math.inf if self.min_snr_db is None else self.min_snr_db
        return figures.top1_agreement >= (self.min_agreement or 0) and snr_db >= least


@dataclass(frozen=True)
class Goal:
    """What an 8-bit variant must reach: the tolerance that it is held to, and the budget of the user on top."""

    tolerance: Tolerance
    budget: AccuracyTarget = field(default_factory=AccuracyTarget)

    def with_margin(self) -> Goal:
        """Return the goal to reach on calibration images, so that other images reach this one.

        Half as many images may disagree, since there are only some tens of them.
        """
        tolerance = replace(
            self.tolerance,
            min_snr_db=self.tolerance.min_snr_db + MARGIN_DB,
            min_cosine=1 - (1 - self.tolerance.min_cosine) * 10 ** (-MARGIN_DB / 10),
            min_top1_agreement=(1 + self.tolerance.min_top1_agreement) / 2,
        )
        return Goal(tolerance, self.budget.with_margin())

    def is_met(self, figures: ParityFigures) -> bool:
        """Return whether ``figures`` reach the goal."""
        return not figures.misses(self.tolerance) and self.budget.is_met(figures)


def choose_in_float(
    noise: Sequence[LayerSensitivity], is_enough: IsEnough, evaluate: Evaluate
) -> frozenset[str] | None:
    """Return the names of the nodes to leave in float, few bytes of them, so that the outcome is enough.

    Layers go back in the order of the noise that each byte of theirs makes; bisection finds the shortest prefix that
    is enough, then every layer of it that turns out not to be needed is quantized again, the largest first.

    Args:
        is_enough: whether figures on the evaluation images are good enough; with a margin, so that others are too.
        evaluate: quantizes the model but for the named nodes and compares it with the float one.

    Returns:
        the names, or None where only all layers in float would be enough, which quantizes nothing.
    """
    order = sorted(noise, key=lambda layer: 10 ** (-layer.snr_db / 10) / layer.bytes_saved, reverse=True)
    names = [layer.node for layer in order]
    if is_enough(evaluate(frozenset())):
        return frozenset()
    too_few, enough = 0, len(names)
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        if is_enough(evaluate(frozenset(names[:middle]))):
            enough = middle
        else:
            too_few = middle
    if enough == len(names):
        return None
    chosen = set(names[:enough])
    for layer in sorted(order[: enough - 1], key=lambda layer: layer.bytes_saved, reverse=True):
        if is_enough(evaluate(frozenset(chosen - {layer.node}))):
            chosen.discard(layer.node)
    return frozenset(chosen)
