"""Mixed precision: putting as few bytes as possible back into float to reach the required agreement."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from vgg_calibration.statistics.sensitivity import LayerSensitivity
from vgg_runtime.bundle.manifest import ParityFigures, Tolerance

__all__ = ["AccuracyTarget", "Evaluate", "Goal", "select_float_nodes"]

# Two sets of images differ by some tenths of a dB in their signal-to-noise ratio.
MARGIN_DB = 0.5

AGREEMENT_STEP_DB = 3.0

Evaluate = Callable[[frozenset[str]], ParityFigures]
IsEnough = Callable[[ParityFigures], bool]


@dataclass(frozen=True)
class AccuracyTarget:
    """What an 8-bit variant must reach.

    Attributes:
        min_agreement: share of images with the same best class, 0 to 1; None for no limit.
        min_snr_db: signal-to-noise ratio of the outputs in dB; None for no limit.
    """

    min_agreement: float | None = None
    min_snr_db: float | None = None

    def __bool__(self) -> bool:
        return self.min_agreement is not None or self.min_snr_db is not None

    def with_margin(self) -> AccuracyTarget:
        """Return the target to reach on calibration images, so that other images reach this one."""
        return self if self.min_snr_db is None else replace(self, min_snr_db=self.min_snr_db + MARGIN_DB)

    def misses(self, figures: ParityFigures) -> dict[str, str]:
        """Return the misses of ``figures`` in words, by the parameter that sets the limit."""
        misses = {}
        if self.min_agreement is not None and not figures.top1_agreement >= self.min_agreement:
            misses["min_agreement"] = f"top-1 agreement {figures.top1_agreement:.6g}, at least {self.min_agreement:.6g}"
        if self.min_snr_db is not None and not figures.decibels >= self.min_snr_db:
            misses["min_snr"] = f"{figures.decibels:.6g} dB, at least {self.min_snr_db:.6g}"
        return misses

    def is_met(self, figures: ParityFigures) -> bool:
        """Return whether ``figures`` reach the target."""
        return not self.misses(figures)


@dataclass(frozen=True)
class Goal:
    """What an 8-bit variant must reach: its tolerance, and the user's own target."""

    tolerance: Tolerance
    accuracy_target: AccuracyTarget = field(default_factory=AccuracyTarget)

    def with_margin(self) -> Goal:
        """Return the goal to reach on calibration images, so that other images reach this one.

        Half as many images may disagree, because there are only some tens of them.
        """
        tolerance = replace(
            self.tolerance,
            min_snr_db=self.tolerance.min_snr_db + MARGIN_DB,
            min_cosine=1 - (1 - self.tolerance.min_cosine) * 10 ** (-MARGIN_DB / 10),
            min_top1_agreement=(1 + self.tolerance.min_top1_agreement) / 2,
        )
        return Goal(tolerance, self.accuracy_target.with_margin())

    def is_met(self, figures: ParityFigures) -> bool:
        """Return whether ``figures`` reach the goal."""
        return not figures.misses(self.tolerance) and self.accuracy_target.is_met(figures)

    def step_db(self, figures: ParityFigures) -> float:
        """Return by how many dB to raise the goal if ``figures`` miss it: those that they lack.

        If they lack none, it is the agreement that misses: half the noise, as less would hardly change a best class.
        """
        lacking = max(self.tolerance.min_snr_db, self.accuracy_target.min_snr_db or -math.inf) - figures.decibels
        return lacking + MARGIN_DB if lacking > 0 else AGREEMENT_STEP_DB

    def with_min_snr(self, snr_db: float) -> Goal:
        """Return the same goal with a higher signal-to-noise ratio."""
        return replace(self, tolerance=replace(self.tolerance, min_snr_db=snr_db))


def select_float_nodes(
    sensitivity: Sequence[LayerSensitivity], is_enough: IsEnough, evaluate: Evaluate
) -> frozenset[str] | None:
    """Return the names of the nodes to leave in float, as few bytes as possible, so that the result is good enough.

    Layers are put back in the order of noise per byte; bisection finds the shortest sufficient prefix, then every layer
    of it that turns out to be unnecessary is quantized again, the largest first.

    Args:
        is_enough: whether figures on the evaluation images are good enough, with a margin for other images.
        evaluate: quantizes the model except for the named nodes, and compares it with the float model.

    Returns:
        the names, or None if even that would need all layers in float.
    """
    order = sorted(sensitivity, key=lambda layer: 10 ** (-layer.snr_db / 10) / layer.bytes_saved, reverse=True)
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
    in_float = set(names[:enough])
    for layer in sorted(order[: enough - 1], key=lambda layer: layer.bytes_saved, reverse=True):
        if is_enough(evaluate(frozenset(in_float - {layer.node}))):
            in_float.discard(layer.node)
    return frozenset(in_float)
