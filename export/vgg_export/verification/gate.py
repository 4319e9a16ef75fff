"""Holding every written variant against eager PyTorch: the gate."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vgg_bench.images import classes_from_folders
from vgg_calibration.mixed_precision import AccuracyTarget
from vgg_export.accuracy import compare_accuracy
from vgg_export.planning.plan import Plan
from vgg_export.progress import OnStep
from vgg_export.variants.registry import VariantSpec, open_variant
from vgg_export.verification.end_to_end import EndToEndCheck
from vgg_export.verification.left_out import remedies, remove_left_out
from vgg_export.verification.reference import Reference
from vgg_runtime.bundle.checksums import sha256_of
from vgg_runtime.bundle.directory import GOLDEN
from vgg_runtime.bundle.manifest import Accuracy, LeftOutVariant, Manifest, ParityFigures, Tolerance, Variant
from vgg_runtime.errors import ParityError

__all__ = ["verify_end_to_end", "verify_variants"]


def verify_variants(plan: Plan, manifest: Manifest, reference: Reference, staging: Path, on_step: OnStep) -> Manifest:
    """Run every variant below ``staging``, from its file and by its engine, and write the golden samples.

    Returns:
        the manifest with the figures; a quantized variant that misses its tolerance, or the budget that the user set,
        is removed and recorded as left out.

    Raises:
        ParityError: a float32 variant misses its tolerance.
    """
    gate = _Gate(
        plan, manifest, reference, classes_from_folders(reference.samples.names, plan.labels), staging, on_step
    )
    judged = []
    for recipe, variant in zip(plan.recipes, manifest.variants, strict=True):
        on_step(f"verifying {recipe.name}")
        judged.append(gate.pass_through(recipe, variant))
    left_out = tuple(variant for variant in judged if isinstance(variant, LeftOutVariant))
    passed = tuple(variant for variant in judged if isinstance(variant, Variant))
    manifest = remove_left_out(manifest, left_out, staging)
    return replace(manifest, variants=passed, golden=_write_golden(reference, staging))


def verify_end_to_end(plan: Plan, manifest: Manifest, reference: Reference, staging: Path, on_step: OnStep) -> Manifest:
    """Hold the labels of every ONNX variant below ``staging``, from image bytes, against PyTorch with torchvision.

    Returns:
        the manifest without the quantized variants that miss, which are removed and recorded as left out.

    Raises:
        ParityError: a float32 variant misses, or the pixels differ from torchvision's.
    """
    misses = EndToEndCheck.of(plan, reference).check(staging, manifest, on_step)
    left_out = (_miss(plan, manifest, recipe, misses[recipe.name]) for recipe in plan.recipes if recipe.name in misses)
    return remove_left_out(manifest, tuple(left_out), staging)


@dataclass(frozen=True)
class _Gate:
    plan: Plan
    manifest: Manifest
    reference: Reference
    truth: list[int] | None
    staging: Path
    on_step: OnStep

    def pass_through(self, recipe: VariantSpec, variant: Variant) -> Variant | LeftOutVariant:
        """Return ``variant`` with its figures, or what is recorded of it where it misses."""
        try:
            outputs = self.reference.run(recipe.name, open_variant(recipe, self.staging), self.on_step)
        except ParityError as error:
            return _miss(self.plan, self.manifest, recipe, error.message, hint=error.hint)
        figures = self.reference.compare(outputs, tie=recipe.tolerance.tie)
        accuracy = None
        if self.truth is not None:
            eager = self.reference.per_sample
            accuracy = compare_accuracy(self.truth, eager, self.reference.rows_per_sample(outputs))
        tolerance = self._tolerance(recipe)
        reason = _shortfall(recipe, tolerance, figures, self.plan.options.quantize.budget)
        if reason is None and recipe.is_low_rank and accuracy is not None:
            reason = _lost_accuracy(recipe, accuracy, self.plan.options.compress.max_accuracy_drop)
        if reason is not None:
            return _miss(self.plan, self.manifest, recipe, reason, figures)
        return replace(variant, parity=figures, tolerance=tolerance, accuracy=accuracy)

    def _tolerance(self, recipe: VariantSpec) -> Tolerance:
        """What the variant is held to; a low-rank one to the user's share of answers, unless its labels tell more."""
        if recipe.is_low_rank and self.truth is None:
            return replace(recipe.tolerance, min_top1_agreement=self.plan.options.compress.min_agreement)
        return recipe.tolerance


def _lost_accuracy(recipe: VariantSpec, accuracy: Accuracy, allowed: float) -> str | None:
    """Say how much accuracy a low-rank variant loses, where that is more points than ``allowed``."""
    lost = 100 * (accuracy.eager - accuracy.variant)
    if lost <= allowed:
        return None
    return (
        f"{recipe.name} is right on {accuracy.variant:.1%} of {accuracy.images} labelled samples and eager PyTorch on "
        f"{accuracy.eager:.1%}: {lost:.1f} points are lost, and {allowed:g} allowed."
    )


def _shortfall(recipe: VariantSpec, tolerance: Tolerance, figures: ParityFigures, budget: AccuracyTarget) -> str | None:
    """Say by what ``figures`` miss the recipe's tolerance, or the user's budget; None where they do not."""
    if misses := figures.misses(tolerance):
        return (
            f"{recipe.name} differs from eager PyTorch by more than {tolerance.name}: {'; '.join(misses)} "
            f"(worst on {figures.worst_sample})."
        )
    if recipe.budgeted and (asked := budget.misses(figures)):
        return f"{recipe.name} misses what was asked for on the images held out: {'; '.join(asked.values())}."
    return None


def _miss(
    plan: Plan,
    manifest: Manifest,
    recipe: VariantSpec,
    reason: str,
    figures: ParityFigures | None = None,
    *,
    hint: str = "Report it with the checkpoint's architecture, or export the other format with `formats`.",
) -> LeftOutVariant:
    """Return what is recorded of a variant that misses; a float variant of the original network ends the export."""
    if not recipe.may_be_left_out:
        raise ParityError(f"{reason} No bundle was written.", hint=hint)
    advice = remedies(recipe, plan.options, manifest, figures)
    return LeftOutVariant(recipe.name, reason, figures, recipe.tolerance, advice)


def _write_golden(reference: Reference, staging: Path) -> str:
    inputs, outputs = reference.golden
    np.savez_compressed(staging / GOLDEN, input=inputs, output=outputs)
    return sha256_of(staging / GOLDEN)
