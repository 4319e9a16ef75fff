"""Trials of int8-static: quantized in different ways, and run on the evaluation images and on those held out."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vgg_calibration.precisions import PRECISIONS, write_quantized
from vgg_calibration.quantizers.base import QuantizationContext
from vgg_export.verification.reference import Reference
from vgg_runtime._internal.cpu import available_threads
from vgg_runtime.backends.base import SessionConfig
from vgg_runtime.backends.registry import open_backend
from vgg_runtime.bundle.manifest import ParityFigures
from vgg_runtime.metrics import compare

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vgg_export.eager import Run

__all__ = ["Trials"]

# Without its layouts, which do not change the outputs.
INT8_STATIC = replace(PRECISIONS["int8-static"], layouts=())


class Trials:
    """The float model quantized in different ways, each run once on the evaluation images."""

    def __init__(self, float_onnx: Path, batches: Sequence[NDArray[np.float32]], *, tie: float) -> None:
        self._float_onnx = float_onnx
        self._batches = batches
        self._tie = tie
        self._reference = _outputs(_open(float_onnx), batches)
        self._figures: dict[tuple[bool, frozenset[str]], ParityFigures] = {}

    def evaluate(self, context: QuantizationContext) -> ParityFigures:
        """Compare the model, quantized by ``context``, with the float one on the evaluation images."""
        key = (bool(context.weights), context.in_float)
        if key not in self._figures:
            names = [f"calibration image {i}" for i in range(len(self._reference))]
            with self._quantized(context) as run:
                actual = _outputs(run, self._batches)
            self._figures[key] = compare(self._reference, actual, names, tie=self._tie)
        return self._figures[key]

    def evaluate_held_out(self, context: QuantizationContext, held_out: Reference) -> ParityFigures:
        """Compare it with eager PyTorch on the images held out, by the lower agreement of all rows or one per image.

        The gate uses the first, the check from image bytes to labels the second.
        """
        with self._quantized(context) as run:
            outputs = [run(held_out.samples.planes(batch)) for batch in held_out.batches]
        figures = held_out.compare(outputs, tie=self._tie)
        rows = held_out.rows_per_sample(outputs)
        by_image = compare(held_out.per_sample, rows, held_out.samples.names, tie=self._tie)
        return replace(
            figures,
            top1_agreement=min(figures.top1_agreement, by_image.top1_agreement),
            top1_agreement_with_ties=min(figures.top1_agreement_with_ties, by_image.top1_agreement_with_ties),
        )

    @contextmanager
    def _quantized(self, context: QuantizationContext) -> Iterator[Run]:
        with tempfile.TemporaryDirectory(dir=self._float_onnx.parent, prefix=".trial") as folder:
            trial = Path(folder) / "model.onnx"
            write_quantized(self._float_onnx, trial, INT8_STATIC, context, single_file=True)
            yield _open(trial)


def _outputs(run: Run, batches: Iterable[NDArray[np.float32]]) -> NDArray[np.float32]:
    return np.concatenate([run(batch) for batch in batches])


def _open(file: Path) -> Run:
    return open_backend("onnxruntime", file, SessionConfig("cpu", available_threads())).run
