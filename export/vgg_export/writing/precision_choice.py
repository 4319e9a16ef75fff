"""What int8-static is made of: every layer in 8 bits where that is good enough, else compensated, else partly float."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vgg_calibration.compensated_rounding import compensated_weights
from vgg_calibration.mixed_precision import Goal, choose_in_float
from vgg_calibration.quantizers.base import QuantizationContext
from vgg_calibration.quantizers.int8_static import quantize_static_int8
from vgg_calibration.statistics.images import CalibrationImages
from vgg_calibration.statistics.input_moments import measure_input_moments
from vgg_calibration.statistics.sensitivity import LayerSensitivity, measure_sensitivity
from vgg_export.progress import OnStep
from vgg_export.variants.quantized_onnx import write_quantized
from vgg_runtime._internal.cpu import available_threads
from vgg_runtime.backends.base import SessionConfig
from vgg_runtime.backends.registry import open_backend
from vgg_runtime.bundle.manifest import ParityFigures
from vgg_runtime.metrics import compare

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["PrecisionChoice", "choose_precision"]

# Images that each layer's noise and its inputs are measured on, and that the choice is evaluated on.
NOISE_IMAGES, EVALUATION_IMAGES = 16, 64


@dataclass(frozen=True)
class PrecisionChoice:
    """How to quantize, and why.

    Attributes:
        context: ranges, and the weights that replace the model's own.
        noise: of each layer when it alone is quantized.
        in_float: names of the nodes that int8-static leaves in float.
        notes: what was changed from every layer in 8 bits, rounded to the nearest level, and what it brought.
        snr_db: of int8-static on the evaluation images in dB; None where the goal was not reached on them.
    """

    context: QuantizationContext
    noise: list[LayerSensitivity]
    in_float: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    snr_db: float | None = None


def choose_precision(
    float_onnx: Path,
    context: QuantizationContext,
    calibration: CalibrationImages,
    evaluation: CalibrationImages,
    goal: Goal,
    *,
    batch_size: int,
    all_layers: bool,
    on_step: OnStep,
) -> PrecisionChoice:
    """Quantize the float model, and do more where it misses ``goal``: first compensate, then leave layers in float.

    Args:
        context: target, and ranges of every activation.
        calibration: images that the ranges come from.
        evaluation: other images, which decide; where there are none, nothing is evaluated or changed.
        batch_size: images that the model takes at once.
        all_layers: whether every layer has to be in 8 bits.
    """
    some = calibration.split(NOISE_IMAGES)[0]
    batches = list(evaluation.split(EVALUATION_IMAGES)[0].batches(batch_size))
    trials = _Trials(float_onnx, goal, batches) if batches else None
    notes: list[str] = []
    if trials is not None:
        on_step("evaluating 8 bits in every layer")
        if not trials.reaches_goal(context):
            on_step("compensating the rounding of the weights")
            context, note = _compensated(float_onnx, context, trials, some.batches(batch_size))
            notes += note
    on_step("measuring the noise of each layer")
    noise = measure_sensitivity(float_onnx, context, some.batches(batch_size))
    choice = PrecisionChoice(context, noise, notes=tuple(notes))
    if trials is None:
        return choice
    if not all_layers and not trials.reaches_goal(context):
        on_step("choosing what stays in float")
        choice = _partly_in_float(choice, trials)
    reached = trials.evaluate(replace(context, in_float=choice.in_float))
    return replace(choice, snr_db=_decibels(reached) if trials.goal.is_met(reached) else None)


class _Trials:
    """The float model quantized in different ways, each run once on the evaluation images."""

    def __init__(self, float_onnx: Path, goal: Goal, batches: Sequence[NDArray[np.float32]]) -> None:
        self._float_onnx = float_onnx
        self._batches = batches
        self._reference = _outputs(float_onnx, batches)
        self._figures: dict[tuple[bool, frozenset[str]], ParityFigures] = {}
        self.goal = goal.with_margin()

    def reaches_goal(self, context: QuantizationContext) -> bool:
        return self.goal.is_met(self.evaluate(context))

    def evaluate(self, context: QuantizationContext) -> ParityFigures:
        """Compare the model, quantized by ``context``, with the float one."""
        key = (bool(context.weights), context.in_float)
        if key not in self._figures:
            self._figures[key] = self._run(context)
        return self._figures[key]

    def _run(self, context: QuantizationContext) -> ParityFigures:
        names = [f"calibration image {i}" for i in range(len(self._reference))]
        with tempfile.TemporaryDirectory(dir=self._float_onnx.parent, prefix=".trial") as folder:
            trial = Path(folder) / "model.onnx"
            # Without the layouts of onnx-int8-static, by which no output changes.
            write_quantized(self._float_onnx, trial, [quantize_static_int8], context, single_file=True)
            return compare(self._reference, _outputs(trial, self._batches), names, tie=self.goal.tolerance.tie)


def _compensated(
    float_onnx: Path, context: QuantizationContext, trials: _Trials, batches: Iterable[NDArray[np.float32]]
) -> tuple[QuantizationContext, list[str]]:
    """Return ``context`` with compensated weights and a note on them, where they are better than the nearest ones."""
    moments = measure_input_moments(float_onnx, batches)
    weights = compensated_weights(float_onnx, moments, context.target.weight_levels)
    compensated = replace(context, weights=weights)
    before, after = trials.evaluate(context), trials.evaluate(compensated)
    if _decibels(after) <= _decibels(before):
        return context, []
    return compensated, [
        f"weights of {len(weights)} layers rounded so that their errors cancel: {_words(before)} with each weight on "
        f"its nearest level, {_words(after)} now"
    ]


def _partly_in_float(choice: PrecisionChoice, trials: _Trials) -> PrecisionChoice:
    """Return ``choice`` with the noisiest layers in float, and a note on them."""

    def evaluate(in_float: frozenset[str]) -> ParityFigures:
        return trials.evaluate(replace(choice.context, in_float=in_float))

    in_float = choose_in_float(choice.noise, trials.goal.is_met, evaluate)
    if in_float is None:
        note = "every layer is in 8 bits: the goal would be reached only with all of them in float"
        return replace(choice, notes=(*choice.notes, note))
    before, after = evaluate(frozenset()), evaluate(in_float)
    note = (
        f"{len(in_float)} of {len(choice.noise)} layers stay in float: {_words(before)} with all in 8 bits, "
        f"{_words(after)} now"
    )
    return replace(choice, in_float=in_float, notes=(*choice.notes, note))


def _decibels(figures: ParityFigures) -> float:
    return math.inf if figures.snr_db is None else figures.snr_db


def _words(figures: ParityFigures) -> str:
    return f"{_decibels(figures):.1f} dB and top-1 agreement {figures.top1_agreement:.0%}"


def _outputs(file: Path, batches: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    run = open_backend("onnxruntime", file, SessionConfig("cpu", available_threads())).run
    return np.concatenate([run(batch) for batch in batches])
