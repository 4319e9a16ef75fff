"""``report.md``: a bundle described for people."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from vgg_bench.formatting import interval
from vgg_bench.results import Results
from vgg_cli.output import printable_lines
from vgg_export.planning.preprocess_search.findings import HEADINGS, table_rows
from vgg_export.planning.preprocess_search.ranking import PreprocessingSearch
from vgg_export.variants.notes import variant_notes
from vgg_export.verification.diagnosis import describe
from vgg_export.verification.samples import Samples
from vgg_export.writing.ranking import verdicts_by_variant
from vgg_runtime._internal.validation import counted
from vgg_runtime.bundle.manifest import Calibration, Compression, LeftOutVariant, Manifest, Tuning, Variant

__all__ = ["report"]


def report(
    manifest: Manifest, samples: Samples, results: Results | None, search: PreprocessingSearch | None = None
) -> str:
    """Return the report as Markdown; ``results`` are None if nothing was timed."""
    sections = [_heading(manifest), _variants(manifest), _parity_note(manifest, samples)]
    if results is not None and results.measured:
        sections.append(_verdicts(results))
    sections.append(_recommendation(manifest, results))
    if manifest.diagnosis is not None and manifest.diagnosis.warnings:
        sections.append("**Mind the warnings on labelled samples above**: this compares variants of that same network.")
    if accuracies := [variant for variant in manifest.variants if variant.accuracy]:
        sections.append(_accuracies(accuracies))
    if manifest.left_out:
        sections.append(_left_out(manifest.left_out))
    sections += _listed(
        {"Quantized": [f"{variant.name}: {note}" for variant in manifest.variants for note in variant_notes(variant)]}
    )
    if manifest.calibration is not None:
        sections.append(_calibration(manifest.calibration))
    if manifest.compression is not None:
        sections.append(_compression(manifest.compression, manifest.architecture.macs))
    if search is not None:
        sections.append(_preprocessing_search(search))
    sections += _listed(
        {
            "Assumed": manifest.architecture.assumptions,
            "How the architecture was found": manifest.architecture.reasons,
            "What was done to the checkpoint": manifest.source.notes,
        }
    )
    return printable_lines("\n\n".join(sections)) + "\n"


def _heading(manifest: Manifest) -> str:
    height, width = manifest.input.size
    lines = [
        f"# {manifest.architecture.name}",
        "",
        f"{manifest.architecture.description}; input {manifest.input.channels} x {height} x {width}, "
        f"{counted(manifest.output.classes, 'class')}.",
    ]
    if manifest.input.takes_pixels:
        lines += ["", "The variants take uint8 pixels in NHWC order, and scale and normalize them themselves."]
    if manifest.source.weights == "random":
        lines += ["", "**The weights are random**: sizes and speeds are meaningful, predictions are not."]
    if manifest.diagnosis is not None:
        lines += ["", "## Labelled samples", "", _list(describe(manifest.diagnosis))]
    return "\n".join(lines)


def _variants(manifest: Manifest) -> str:
    # With five classes or fewer, the five best are all of them.
    has_top5 = manifest.output.classes > 5
    rows = [
        "## Variants",
        "",
        f"| variant | MB | of the checkpoint | SNR (dB) | centered SNR (dB) | top-1 |{' top-5 |' * has_top5}"
        " max error | worst sample |",
        f"|---|---:|---:|---:|---:|---:|{'---:|' * has_top5}---:|---|",
        *(_row(variant, manifest.source.bytes, has_top5=has_top5) for variant in manifest.variants),
    ]
    if any(variant.parity.is_mostly_mean for variant in manifest.variants if variant.parity is not None):
        rows += [
            "",
            "The SNR is much larger than the centered one, which leaves out each class's mean output over the images: "
            "most of what the network gives is the same for every image, so its SNR says little.",
        ]
    return "\n".join(rows)


def _row(variant: Variant, checkpoint_bytes: int | None, *, has_top5: bool) -> str:
    share = f"{variant.bytes / checkpoint_bytes:.0%}" if checkpoint_bytes else ""
    cells = [variant.name, f"{variant.bytes / 1e6:.1f}", share]
    if (figures := variant.parity) is None:
        cells += ["not verified", *[""] * (4 + has_top5)]
    else:
        cells += [_decibels(figures.snr_db), _decibels(figures.centered_snr_db), f"{figures.top1_agreement:.1%}"]
        if has_top5:
            cells.append("" if figures.top5_agreement is None else f"{figures.top5_agreement:.1%}")
        cells += [f"{figures.max_abs_error:.2g}", figures.worst_sample]
    return f"| {' | '.join(cells)} |"


def _decibels(snr_db: float | None) -> str:
    return "equal" if snr_db is None else f"{snr_db:.1f}"


def _parity_note(manifest: Manifest, samples: Samples) -> str:
    verified = next((variant for variant in manifest.variants if variant.parity is not None), None)
    if verified is None or verified.parity is None or verified.tolerance is None:
        return "No variant was verified (`verify=False`)."
    kind = "real images" if samples.real else "images of 1/f noise (give `samples=DIR` to use real ones)"
    sizes = ", ".join(map(str, verified.parity.batch_sizes))
    return (
        f"Compared with eager PyTorch on {len(samples.names)} {kind} at batch sizes {sizes}; "
        "pixels compared with torchvision's transforms and equal to the bit."
    )


def _recommendation(manifest: Manifest, results: Results | None) -> str:
    for name, verdict in ({} if results is None else verdicts_by_variant(results)).items():
        if verdict.rank == "recommended":
            return f"## Recommended\n\n`{name}`: {verdict.why}. Measure again where it will run: `vgg-bench`."
    onnx = [variant for variant in manifest.variants if variant.format == "onnx"]
    if not onnx:
        return "## Recommended\n\nNone for the runtime without PyTorch: it runs ONNX (`formats=['onnx']`)."
    return f"## Recommended\n\n`{onnx[0].name}`: it runs without PyTorch and gives eager PyTorch's answers."


def _verdicts(results: Results) -> str:
    batch_size = results.measured[0].subject.batch_size
    rows = [
        "## Speed on the machine that exported",
        "",
        f"One process per variant, in turns, batch {batch_size}, on the CPU; ratios to "
        f"{' on '.join(results.baseline)}; 95 % intervals in parentheses.",
        "",
        "| variant | ms | ratio | verdict |",
        "|---|---:|---:|---|",
    ]
    verdicts = verdicts_by_variant(results)
    for row in results.measured:
        assert row.latency is not None  # it was measured
        verdict = verdicts[row.subject.variant]
        ratio = "" if row.ratio is None else interval(row.ratio)
        cells = [row.subject.variant, interval(row.latency.p50), ratio, f"{verdict.rank}: {verdict.why}"]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _accuracies(variants: Sequence[Variant]) -> str:
    rows = [
        "## Accuracy on the labelled samples",
        "",
        "| variant | images | eager PyTorch | variant | difference, 95 % interval | McNemar p |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for variant in variants:
        if (accuracy := variant.accuracy) is not None:
            interval = f"{accuracy.low * 100:+.1f} to {accuracy.high * 100:+.1f} points"
            rows.append(
                f"| {variant.name} | {accuracy.images} | {accuracy.eager:.2%} | {accuracy.variant:.2%} | {interval} | "
                f"{accuracy.p_value:.2g} |"
            )
    return "\n".join(rows)


def _left_out(variants: Sequence[LeftOutVariant]) -> str:
    sections = ["## Left out"]
    for variant in variants:
        sections.append(f"{variant.reason} Remedies, most effective first:")
        sections.append(_list(variant.remedies))
    return "\n\n".join(sections)


def _calibration(calibration: Calibration) -> str:
    lines = [
        f"## Calibration\n\n{counted(len(calibration.images), 'image')}, ranges by {calibration.method}; "
        "the files and the ranges are listed in bundle.json."
    ]
    rows = ["Each layer quantized by itself, noise of its output:", "", "| layer | SNR (dB) |", "|---|---:|"]
    for layer, decibels in sorted(calibration.layer_snr_db.items(), key=lambda item: item[1] or math.inf):
        rows.append(f"| {layer} | {'exact' if decibels is None else f'{decibels:.1f}'} |")
    lines.append("\n".join(rows))
    if calibration.skipped:
        lines.append("Unreadable and left out:\n\n" + _list(calibration.skipped))
    return "\n\n".join(lines)


def _compression(compression: Compression, macs: int | None) -> str:
    """The curve that the network was chosen from, so that the user can request another point."""
    choice = compression.chosen
    rows = [
        "## Compression",
        "",
        f"The low-rank variants are factorized for images like the {counted(len(compression.images), 'image')} that "
        f"layers were measured on. Agreement is the share of {len(compression.compared)} other images on which the "
        "original's best class stays.",
        *(
            []
            if compression.other_agreement is None
            else [f"On {compression.other_images} images of another kind it is {compression.other_agreement:.1%}."]
        ),
        *([] if compression.tuning is None else [_tuning(compression.tuning)]),
        "",
        "| `compress` | multiply-accumulates | parameters | agreement | |",
        "|---:|---:|---:|---:|---|",
    ]
    for point in compression.curve:
        speedup = f"{macs / point.macs:.1f}" if macs else ""
        rows.append(
            f"| {speedup} | {point.macs / 1e6:,.0f} M | {point.parameters / 1e6:.2f} M | {point.agreement:.1%} | "
            f"{point.verdict} |"
        )
    rows += ["", "| layer | rank |", "|---|---:|", *(f"| {name} | {rank} |" for name, rank in choice.ranks.items())]
    return "\n".join(rows)


def _tuning(tuning: Tuning) -> str:
    return (
        f"The chosen one was tuned to answer as the original: {counted(tuning.steps, 'step')} on "
        f"{counted(tuning.images, 'image')}, in at most {tuning.minutes:g} minutes on {tuning.device}, brought its "
        f"agreement from {tuning.agreement_before:.1%} to {tuning.agreement_after:.1%} and its loss from "
        f"{tuning.loss_before:.3f} to {tuning.loss_after:.3f}."
    )


def _preprocessing_search(search: PreprocessingSearch) -> str:
    rows = [
        "## Preprocessing candidates",
        "",
        f"Eager PyTorch on {search.images} labelled samples; differences with their 95 % interval for paired "
        "proportions. Worse means by McNemar's exact test at 5 %, corrected for all comparisons by Holm's procedure.",
        "",
        f"| {' | '.join(HEADINGS)} |",
        "|---|---:|---|---|---|",
    ]
    return "\n".join(rows + [f"| {' | '.join(cells)} |" for cells in table_rows(search)])


def _listed(sections: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the sections by their titles, without empty ones."""
    return [f"## {title}\n\n{_list(lines)}" for title, lines in sections.items() if lines]


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
