"""A quantized variant that misses what it is held to: taken out of the bundle, with what to do about it."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from vgg_calibration.ranges.methods import METHODS
from vgg_export.variants.registry import VariantSpec
from vgg_runtime.bundle.manifest import LeftOutVariant, Manifest, ParityFigures, Tolerance

if TYPE_CHECKING:
    from vgg_export.planning.options import Options

__all__ = ["remedies", "remove_left_out"]

# Half the noise: less would hardly change which class is the best.
LEAST_STEP_DB = 3


def remove_left_out(manifest: Manifest, left_out: tuple[LeftOutVariant, ...], bundle: Path) -> Manifest:
    """Remove the files of ``left_out`` below ``bundle``, and return the manifest that says so."""
    names = {variant.name for variant in left_out}
    for variant in manifest.variants:
        if variant.name in names:
            shutil.rmtree((bundle / variant.file).parent)
    kept = tuple(variant for variant in manifest.variants if variant.name not in names)
    return replace(manifest, variants=kept, left_out=(*manifest.left_out, *left_out))


def remedies(
    recipe: VariantSpec, options: Options, manifest: Manifest, figures: ParityFigures | None = None
) -> tuple[str, ...]:
    """Return what to do about a miss of ``recipe``, what helps most first.

    Args:
        figures: of the miss; None where it could not be run or compared.
    """
    advice = []
    if recipe.budgeted:
        advice += _more_in_float(recipe.tolerance, options, manifest, figures)
    if recipe.ranges != "unused" and manifest.calibration is not None:
        others = ", ".join(method for method in METHODS if method != options.calibration.method)
        advice += [
            "calibrate on more images, or on images more like those of the training "
            f"(`calibration` had {len(manifest.calibration.images)})",
            f"try another `calibration.method`: {others}",
        ]
    return (*advice, f"leave out `quantize={[recipe.quantize]}`")


def _more_in_float(
    tolerance: Tolerance, options: Options, manifest: Manifest, figures: ParityFigures | None
) -> list[str]:
    if options.quantize.all_layers:
        return ["leave out `all_layers`, so that the noisiest layers can stay in float"]
    reached = None if manifest.calibration is None else manifest.calibration.evaluation_snr_db
    if reached is None or figures is None:
        return ["lower `min_agreement` or `min_snr`"] if options.quantize.budget else []
    snr_db = math.inf if figures.snr_db is None else figures.snr_db
    least = max(tolerance.min_snr_db, options.quantize.budget.min_snr_db or -math.inf)
    more = math.ceil(reached + max(LEAST_STEP_DB, least - snr_db))
    return [f"`min_snr={more}`, so that more layers stay in float ({reached:.1f} dB on the calibration images now)"]
