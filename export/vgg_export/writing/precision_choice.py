"""The composition of int8-static: all layers in 8 bits if that is good enough, else compensated, else partly float."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from vgg_calibration.compensated_rounding import compensated_weights
from vgg_calibration.mixed_precision import MARGIN_DB, Goal, select_float_nodes
from vgg_calibration.quantizers.base import QuantizationContext
from vgg_calibration.statistics.images import CalibrationImages
from vgg_calibration.statistics.input_moments import measure_input_moments
from vgg_calibration.statistics.sensitivity import LayerSensitivity, measure_sensitivity
from vgg_export.progress import OnStep
from vgg_export.verification.reference import Reference
from vgg_export.writing.precision_trials import Trials
from vgg_runtime.bundle.manifest import ParityFigures

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["PrecisionChoice", "choose_precision"]

# Images that each layer's sensitivity and its inputs are measured on, and that the choice is evaluated on.
SENSITIVITY_IMAGES, EVALUATION_IMAGES = 16, 64

# Each raise is twice the one before: a miss after that many has another cause.
MAX_RAISES = 4


@dataclass(frozen=True)
class PrecisionChoice:
    """How to quantize, and why.

    Attributes:
        context: ranges, and the weights that replace the model's own.
        sensitivity: of each layer, quantized by itself.
        in_float: names of the nodes that int8-static leaves in float.
        notes: the differences from plain int8, with every layer rounded to the nearest level, and their effect.
        snr_db: of int8-static on the evaluation images in dB; None if the goal was not reached on them.
    """

    context: QuantizationContext
    sensitivity: list[LayerSensitivity] = field(default_factory=list)
    in_float: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    snr_db: float | None = None

    @property
    def int8_static(self) -> QuantizationContext:
        """The context of int8-static; other variants keep no layer in float."""
        return replace(self.context, in_float=self.in_float)


def choose_precision(
    float_onnx: Path,
    context: QuantizationContext,
    calibration: CalibrationImages,
    evaluation: CalibrationImages,
    goal: Goal,
    *,
    held_out: Reference | None,
    batch_size: int,
    all_layers: bool,
    on_step: OnStep,
) -> PrecisionChoice:
    """Quantize the float model, and do more if it misses ``goal``: first compensate, then leave layers in float.

    The choice depends only on the evaluation images. Those held out only decide when to stop: as long as they miss the
    goal, it is raised on the evaluation images.

    Args:
        context: target, and ranges of every activation.
        calibration: the images that gave the ranges.
        evaluation: other images, which decide; without them nothing is evaluated or changed.
        held_out: eager PyTorch on the images of the gate; None if nothing is verified.
        batch_size: images that the model takes at once.
        all_layers: whether every layer has to be in 8 bits.
    """
    batches = list(evaluation.split(EVALUATION_IMAGES)[0].batches(batch_size))
    layer_batches = list(calibration.split(SENSITIVITY_IMAGES)[0].batches(batch_size))
    if not batches:
        on_step("measuring the sensitivity of each layer")
        return PrecisionChoice(context, measure_sensitivity(float_onnx, context, layer_batches))
    trials = Trials(float_onnx, batches, tie=goal.tolerance.tie)
    search = _Search(float_onnx, context, layer_batches, trials, on_step, all_layers=all_layers)
    choice = search.reach(goal.with_margin())
    if choice is None:
        choice = search.every_layer_in_8_bits()
        return replace(choice, sensitivity=search.sensitivity(choice.context))
    if held_out is not None:
        choice = _until_held_out_pass(search, choice, goal, held_out)
    return replace(choice, sensitivity=search.sensitivity(choice.context), snr_db=search.snr_db(choice))


class _Search:
    """Finds the smallest change to a network that is sufficient on the evaluation images."""

    def __init__(
        self,
        float_onnx: Path,
        context: QuantizationContext,
        batches: Sequence[NDArray[np.float32]],
        trials: Trials,
        on_step: OnStep,
        *,
        all_layers: bool,
    ) -> None:
        self._float_onnx = float_onnx
        self._nearest = PrecisionChoice(context)
        self._batches = batches
        self._trials = trials
        self._on_step = on_step
        self._all_layers = all_layers
        self._sensitivity: dict[bool, list[LayerSensitivity]] = {}

    def reach(self, goal: Goal) -> PrecisionChoice | None:
        """Return the smallest change that reaches ``goal``: none, compensated rounding, or layers in float as well.

        None if that would need all layers in float, or if none may be.
        """
        self._on_step("evaluating 8 bits in every layer")
        choice = self._nearest
        if not goal.is_met(self._evaluate(choice)):
            choice = self._compensated
        if goal.is_met(self._evaluate(choice)):
            return choice
        return None if self._all_layers else self._partly_in_float(choice, goal)

    def every_layer_in_8_bits(self) -> PrecisionChoice:
        """Return the best that 8 bits can do, for a goal that is out of reach."""
        note = "every layer is in 8 bits: the goal would be reached only with all of them in float"
        choice = self._compensated
        return choice if self._all_layers else replace(choice, notes=(*choice.notes, note))

    def evaluate_held_out(self, choice: PrecisionChoice, held_out: Reference) -> ParityFigures:
        """Compare ``choice`` with eager PyTorch on the images held out."""
        self._on_step("trying int8-static on the images held out")
        return self._trials.evaluate_held_out(choice.int8_static, held_out)

    def snr_db(self, choice: PrecisionChoice) -> float:
        """Return the signal-to-noise ratio of ``choice`` on the evaluation images, in dB."""
        return self._evaluate(choice).decibels

    def sensitivity(self, context: QuantizationContext) -> list[LayerSensitivity]:
        """Return the sensitivity of each layer with the weights of ``context``."""
        if (compensated := bool(context.weights)) not in self._sensitivity:
            self._on_step("measuring the sensitivity of each layer")
            self._sensitivity[compensated] = measure_sensitivity(self._float_onnx, context, self._batches)
        return self._sensitivity[compensated]

    def _evaluate(self, choice: PrecisionChoice) -> ParityFigures:
        return self._trials.evaluate(choice.int8_static)

    @cached_property
    def _compensated(self) -> PrecisionChoice:
        """Every layer in 8 bits with compensated weights, if these are better than the nearest levels."""
        self._on_step("compensating the rounding of the weights")
        context = self._nearest.context
        moments = measure_input_moments(self._float_onnx, self._batches)
        weights = compensated_weights(self._float_onnx, moments, context.target.weight_levels)
        choice = PrecisionChoice(replace(context, weights=weights))
        before, after = self._evaluate(self._nearest), self._evaluate(choice)
        if after.decibels <= before.decibels:
            return self._nearest
        note = (
            f"weights of {len(weights)} layers rounded so that their errors cancel: {_words(before)} with each weight "
            f"on its nearest level, {_words(after)} now"
        )
        return replace(choice, notes=(note,))

    def _partly_in_float(self, choice: PrecisionChoice, goal: Goal) -> PrecisionChoice | None:
        """Return ``choice`` with the noisiest layers in float, and a note on them."""
        sensitivity = self.sensitivity(choice.context)
        self._on_step("choosing what stays in float")

        def evaluate(in_float: frozenset[str]) -> ParityFigures:
            return self._evaluate(replace(choice, in_float=in_float))

        in_float = select_float_nodes(sensitivity, goal.is_met, evaluate)
        if in_float is None:
            return None
        before, after = evaluate(frozenset()), evaluate(in_float)
        note = (
            f"{len(in_float)} of {len(sensitivity)} layers stay in float: {_words(before)} with all in 8 bits, "
            f"{_words(after)} now"
        )
        return replace(choice, in_float=in_float, notes=(*choice.notes, note))


def _until_held_out_pass(search: _Search, choice: PrecisionChoice, goal: Goal, held_out: Reference) -> PrecisionChoice:
    """Raise the goal on the evaluation images until those held out reach ``goal``, or nothing more can be done."""
    first = choice
    for raises in range(MAX_RAISES):
        figures = search.evaluate_held_out(choice, held_out)
        if goal.is_met(figures):
            break
        step_db = goal.step_db(figures) * 2**raises
        while (more := search.reach(goal.with_margin().with_min_snr(search.snr_db(choice) + step_db))) is None:
            step_db /= 2  # that raise is out of reach
            if step_db < MARGIN_DB:
                return choice
        choice = more
    if choice is first:
        return choice
    note = (
        f"{search.snr_db(first):.1f} dB on the calibration images was not enough for the images held out: raised to "
        f"{search.snr_db(choice):.1f} dB"
    )
    return replace(choice, notes=(*choice.notes, note))


def _words(figures: ParityFigures) -> str:
    return f"{figures.decibels:.1f} dB and top-1 agreement {figures.top1_agreement:.0%}"
