"""Leaving a variant out of the bundle, with advice on what to do about it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from vgg_calibration.ranges.methods import METHODS
from vgg_calibration.targets import ANY_CPU, TARGETS
from vgg_export.variants.registry import VariantSpec
from vgg_runtime.bundle.manifest import Calibration, LeftOutVariant, Manifest, ParityFigures

if TYPE_CHECKING:
    from vgg_export.planning.options import Options

__all__ = ["remedies", "remove_left_out"]


def remove_left_out(manifest: Manifest, left_out: tuple[LeftOutVariant, ...], bundle: Path) -> Manifest:
    """Remove the files of ``left_out`` below ``bundle``, and return the manifest that says so."""
    names = {variant.name for variant in left_out}
    for variant in manifest.variants:
        if variant.name in names:
            shutil.rmtree((bundle / variant.file).parent)
    variants = tuple(variant for variant in manifest.variants if variant.name not in names)
    return replace(manifest, variants=variants, left_out=(*manifest.left_out, *left_out))


def remedies(
    spec: VariantSpec, options: Options, manifest: Manifest, figures: ParityFigures | None = None
) -> tuple[str, ...]:
    """Return what to do about a miss of ``spec``, the most effective first.

    Args:
        figures: the figures that miss; None if it could not be run or compared.
    """
    if spec.is_low_rank:
        return _smaller_compression(spec, manifest)
    advice = []
    if spec.has_accuracy_target and options.quantize.all_layers:
        advice.append("leave out `all_layers`, so that the noisiest layers can stay in float")
    elif (
        spec.has_accuracy_target
        and figures is not None
        and (misses := options.quantize.accuracy_target.misses(figures))
    ):
        advice.append(f"lower {' and '.join(f'`{parameter}`' for parameter in misses)}")
    if spec.ranges != "unused" and manifest.calibration is not None:
        advice += _better_ranges(options, manifest.calibration)
    return (*advice, f"leave out `quantize={[spec.quantize]}`")


def _better_ranges(options: Options, calibration: Calibration) -> list[str]:
    methods = ", ".join(method for method in METHODS if method != options.calibration.method)
    advice = [
        "calibrate on more images, or on images more like those of the training "
        f"(`calibration` had {len(calibration.images)})",
        f"try another `calibration.method`: {methods}",
    ]
    if options.quantize.target == ANY_CPU:
        *others, last = (target.name for target in TARGETS.values() if not target.reduce_range)
        names = f"{', '.join(others)} or {last}"
        advice.insert(0, f"set `target` to {names} if it runs only there: 8-bit weights instead of 7-bit ones")
    return advice


def _smaller_compression(spec: VariantSpec, manifest: Manifest) -> tuple[str, ...]:
    compression, macs = manifest.compression, manifest.architecture.macs
    assert compression is not None
    advice = [
        f"calibrate on more images, or on images more like the samples (`calibration` had {len(compression.images)})",
        "allow it to lose more, with `min_agreement` or, if the samples are labelled, `max_accuracy_drop`",
    ]
    if macs is not None:
        advice.insert(0, f"`compress={max(1.1, 0.8 * macs / compression.chosen.macs):.1f}`, which compresses less")
    return (*advice, *([f"leave out `quantize={[spec.quantize]}`"] if spec.quantize else []))
