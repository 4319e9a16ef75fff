"""Quantize the lessons' networks that were trained on real digits, and write their accuracy to QUANTIZED.md."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from lesson_export import export_row
from lesson_images import Images, digits, write_images
from lesson_rows import Row, lesson_rows

from vgg_export import CalibrationOptions
from vgg_export.variants.registry import QUANTIZE_OPTIONS
from vgg_runtime.bundle.manifest import Accuracy, Variant

TABLE = Path(__file__).with_name("QUANTIZED.md")

HEADER = """\
# The lessons' trained networks, quantized

Made by `make lessons`. Judged on 1,000 real digits that neither trained the network nor gave ranges; ranges from 500
that trained it. The difference in points of accuracy is to eager PyTorch, with its paired 95 % interval.

| # | network | variant | MB | SNR (dB) | top-1 agreement | accuracy | difference |
|--:|---|---|--:|--:|--:|--:|---|
"""


def main() -> None:
    rows = {row.network: row for row in reversed(lesson_rows()) if row.trained}
    lines = []
    for row in sorted(rows.values(), key=lambda row: row.number):
        with TemporaryDirectory() as folder:
            lines += quantized(row, Path(folder))
    TABLE.write_text(HEADER + "\n".join(lines) + "\n", encoding="utf-8")
    print(TABLE.read_text(encoding="utf-8"))


def quantized(row: Row, folder: Path) -> Iterator[str]:
    """Export the row with every quantization, and yield a line for each ONNX variant."""
    judged, seen = digit_folders(folder, row.images)
    options = {"quantize": QUANTIZE_OPTIONS, "calibration": CalibrationOptions(seen, size=500)}
    exported = export_row(
        replace(row, commands=False, options=row.options | options), folder, folder, formats=("onnx",), samples=judged
    )
    for variant in exported.bundle.manifest.variants:
        yield f"| {row.number} | {row.network} | {' | '.join(figures(variant))} |"


def digit_folders(folder: Path, kind: Images) -> tuple[Path, Path]:
    """Write 1,000 digits that nothing trained on, and 500 others."""
    judged, seen = folder / "judged", folder / "seen"
    write_images(judged, digits(kind)[::5])
    write_images(seen, digits(kind)[1::10])
    return judged, seen


def figures(variant: Variant) -> Iterator[str]:
    parity, accuracy = variant.parity, variant.accuracy
    assert parity is not None
    assert accuracy is not None
    assert accuracy.images == 1000
    yield variant.name
    yield f"{variant.bytes / 1e6:.3f}"
    yield "exact" if parity.snr_db is None else f"{parity.snr_db:.1f}"
    yield f"{parity.top1_agreement:.2%}"
    yield f"{accuracy.variant:.2%}"
    yield difference(accuracy)


def difference(accuracy: Accuracy) -> str:
    points = [100 * value for value in (accuracy.variant - accuracy.eager, accuracy.low, accuracy.high)]
    return "{:+.2f} ({:+.2f} to {:+.2f})".format(*points)


if __name__ == "__main__":
    main()
