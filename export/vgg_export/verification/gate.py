"""The gate: comparing every written variant with eager PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Judgement", "judge", "verify_end_to_end", "verify_variants"]


def verify_variants(plan: Plan, manifest: Manifest, reference: Reference, staging: Path, on_step: OnStep) -> Manifest:
    """Run every variant in ``staging`` from its file, by its engine, and write the golden samples.

    Returns:
        the manifest with the figures; a quantized variant that misses its tolerance, or the accuracy that the user
        requires, is removed and recorded as left out.

    Raises:
        ParityError: a float32 variant misses its tolerance.
    """
    gate = _Gate(plan, manifest, reference, staging, on_step)
    outcomes = []
    for spec, variant in zip(plan.variant_specs, manifest.variants, strict=True):
        on_step(f"verifying {spec.name}")
        outcomes.append(gate.pass_through(spec, variant))
    left_out = tuple(variant for variant in outcomes if isinstance(variant, LeftOutVariant))
    passed = tuple(variant for variant in outcomes if isinstance(variant, Variant))
    manifest = remove_left_out(manifest, left_out, staging)
    return replace(manifest, variants=passed, golden=_write_golden(reference, staging))


def verify_end_to_end(plan: Plan, manifest: Manifest, reference: Reference, staging: Path, on_step: OnStep) -> Manifest:
    """Compare the labels of every ONNX variant in ``staging``, from image bytes, with PyTorch and torchvision.

    Returns:
        the manifest without the quantized variants that miss; they are removed and recorded as left out.

    Raises:
        ParityError: a float32 variant misses, or the pixels differ from torchvision's.
    """
    misses = EndToEndCheck.of(plan, reference).check(staging, manifest, on_step)
    left_out = (_miss(plan, manifest, spec, misses[spec.name]) for spec in plan.variant_specs if spec.name in misses)
    return remove_left_out(manifest, tuple(left_out), staging)


@dataclass(frozen=True)
class _Gate:
    plan: Plan
    manifest: Manifest
    reference: Reference
    staging: Path
    on_step: OnStep

    def pass_through(self, spec: VariantSpec, variant: Variant) -> Variant | LeftOutVariant:
        """Return ``variant`` with its figures, or the record of its miss."""
        try:
            outputs = self.reference.run(spec.name, open_variant(spec, self.staging), self.on_step)
        except ParityError as error:
            return _miss(self.plan, self.manifest, spec, error.message, hint=error.hint)
        judgement = judge(self.plan, self.reference, spec, outputs)
        if judgement.shortfall is not None:
            return _miss(self.plan, self.manifest, spec, judgement.shortfall, judgement.figures)
        return replace(variant, parity=judgement.figures, tolerance=judgement.tolerance, accuracy=judgement.accuracy)


@dataclass(frozen=True)
class Judgement:
    """The comparison of outputs with those of eager PyTorch.

    Attributes:
        tolerance: the tolerance that applies.
        accuracy: on labelled samples, None if there are none.
        shortfall: what they miss, in words; None if they pass.
    """

    figures: ParityFigures
    tolerance: Tolerance
    accuracy: Accuracy | None
    shortfall: str | None


def judge(plan: Plan, reference: Reference, spec: VariantSpec, outputs: Sequence[NDArray[np.float32]]) -> Judgement:
    """Compare the ``outputs`` of a variant, in the order of the reference's batches, with its requirements.

    A low-rank variant must keep the accuracy, up to the allowed loss, or without labels the share of predictions.
    """
    compress, tolerance = plan.options.compress, spec.tolerance
    truth = classes_from_folders(reference.samples.names, plan.labels)
    if spec.is_low_rank and truth is None:
        tolerance = replace(tolerance, min_top1_agreement=compress.min_agreement)
    figures = reference.compare(outputs, tie=tolerance.tie)
    shortfall = _shortfall(spec, tolerance, figures, plan.options.quantize.accuracy_target)
    if truth is None:
        return Judgement(figures, tolerance, None, shortfall)
    accuracy = compare_accuracy(truth, reference.per_sample, reference.rows_per_sample(outputs))
    if shortfall is None and spec.is_low_rank:
        shortfall = _lost_accuracy(spec, accuracy, compress.max_accuracy_drop)
    return Judgement(figures, tolerance, accuracy, shortfall)


def _lost_accuracy(spec: VariantSpec, accuracy: Accuracy, allowed: float) -> str | None:
    """Return how much accuracy a low-rank variant loses, if that is more points than ``allowed``."""
    # Shares of so many images: what they lack in precision is no loss.
    lost = round(100 * (accuracy.eager - accuracy.variant), 6)
    if lost <= allowed:
        return None
    return (
        f"{spec.name} is right on {accuracy.variant:.1%} of {accuracy.images} labelled samples and eager PyTorch on "
        f"{accuracy.eager:.1%}: {lost:.1f} points are lost, and {allowed:g} allowed."
    )


def _shortfall(
    spec: VariantSpec, tolerance: Tolerance, figures: ParityFigures, accuracy_target: AccuracyTarget
) -> str | None:
    """Return how ``figures`` miss the variant's tolerance, or the user's target; None if they do not."""
    if misses := figures.misses(tolerance):
        return (
            f"{spec.name} differs from eager PyTorch by more than {tolerance.name}: {'; '.join(misses)} "
            f"(worst on {figures.worst_sample})."
        )
    if spec.has_accuracy_target and (shortfalls := accuracy_target.misses(figures)):
        return f"{spec.name} misses the requested accuracy on the images held out: {'; '.join(shortfalls.values())}."
    return None


def _miss(
    plan: Plan,
    manifest: Manifest,
    spec: VariantSpec,
    reason: str,
    figures: ParityFigures | None = None,
    *,
    hint: str = "Report it with the checkpoint's architecture, or export the other format with `formats`.",
) -> LeftOutVariant:
    """Return the record of a variant that misses; for a float variant of the original network, raise."""
    if not spec.may_be_left_out:
        raise ParityError(f"{reason} No bundle was written.", hint=hint)
    advice = remedies(spec, plan.options, manifest, figures)
    return LeftOutVariant(spec.name, reason, figures, spec.tolerance, advice)


def _write_golden(reference: Reference, staging: Path) -> str:
    inputs, outputs = reference.golden
    np.savez_compressed(staging / GOLDEN, input=inputs, output=outputs)
    return sha256_of(staging / GOLDEN)
