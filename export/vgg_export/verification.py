"""Holding every written variant against eager PyTorch: the gate."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vgg_calibration.mixed_precision import Budget
from vgg_export.accuracy import compare_accuracy
from vgg_export.plan import Plan
from vgg_export.progress import OnStep
from vgg_export.reference import Reference
from vgg_export.variants import Recipe, open_variant
from vgg_runtime.bundle import GOLDEN
from vgg_runtime.checksum import sha256_of
from vgg_runtime.errors import ParityError
from vgg_runtime.manifest import Manifest, ParityFigures, Variant
from vgg_runtime.true_classes import true_classes

__all__ = ["verify_variants"]


def verify_variants(plan: Plan, manifest: Manifest, reference: Reference, staging: Path, on_step: OnStep) -> Manifest:
    """Run every variant below ``staging``, from its file and by its engine, and write the golden samples.

    Returns:
        the manifest with the figures.

    Raises:
        ParityError: a variant misses its tolerance, or the budget that the user set.
    """
    gate = _Gate(reference, plan.options.budget, true_classes(reference.samples.names, plan.labels), staging, on_step)
    variants = []
    for recipe, variant in zip(plan.recipes, manifest.variants, strict=True):
        on_step(f"verifying {recipe.name}")
        variants.append(gate.pass_through(recipe, variant))
    return replace(manifest, variants=tuple(variants), golden=_write_golden(reference, staging))


@dataclass(frozen=True)
class _Gate:
    reference: Reference
    budget: Budget
    truth: list[int] | None
    staging: Path
    on_step: OnStep

    def pass_through(self, recipe: Recipe, variant: Variant) -> Variant:
        """Return ``variant`` with its figures, or raise ParityError."""
        outputs = self.reference.run(recipe.name, open_variant(recipe, self.staging), self.on_step)
        figures = self.reference.compare(outputs, tie=recipe.tolerance.tie)
        _refuse_miss(recipe, figures)
        if recipe.budgeted:
            _refuse_below_budget(recipe, figures, self.budget)
        accuracy = None
        if self.truth is not None:
            eager = self.reference.per_sample
            accuracy = compare_accuracy(self.truth, eager, self.reference.rows_per_sample(outputs))
        return replace(variant, parity=figures, tolerance=recipe.tolerance, accuracy=accuracy)


def _refuse_miss(recipe: Recipe, figures: ParityFigures) -> None:
    if not (misses := figures.misses(recipe.tolerance)):
        return
    if recipe.quantize is None:
        hint = "Report it with the checkpoint's architecture, or export the other format with --format."
    else:
        hint = (
            f"Leave out --quantize {recipe.quantize}, or calibrate on more images, or images more like those of the "
            "training, or by another --calibration-method."
        )
    raise ParityError(
        f"{recipe.name} differs from eager PyTorch by more than {recipe.tolerance.name}: {'; '.join(misses)} "
        f"(worst on {figures.worst_sample}). No bundle was written.",
        hint=hint,
    )


def _refuse_below_budget(recipe: Recipe, figures: ParityFigures, budget: Budget) -> None:
    if budget.is_met(figures):
        return
    snr_db = math.inf if figures.snr_db is None else figures.snr_db
    raise ParityError(
        f"{recipe.name} reaches {budget} on the calibration images, but a top-1 agreement of "
        f"{figures.top1_agreement:g} and {snr_db:.1f} dB on the images held out. No bundle was written.",
        hint="Calibrate on more images, or ask for a margin: a higher --min-agreement or --min-snr.",
    )


def _write_golden(reference: Reference, staging: Path) -> str:
    inputs, outputs = reference.golden
    np.savez_compressed(staging / GOLDEN, input=inputs, output=outputs)
    return sha256_of(staging / GOLDEN)
