"""Export every row of the lessons at full size and write what came of it to TABLE.md beside this file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from lesson_export import Exported, answers, export_row, owners_answers
from lesson_images import DIGITS
from lesson_rows import Row, lesson_rows

TABLE = Path(__file__).with_name("TABLE.md")

COLUMNS = (
    *("#", "network", "saved as", "told by its owner", "parameters", "checkpoint", "onnx-fp32", "torchscript-fp32"),
    *("SNR onnx", "SNR torchscript", "top-1", "accuracy before", "after"),
)
HEADER = f"""\
# What people train from the lessons, exported

Made by `make lessons`. Sizes are in MB (10^6 bytes). SNR is the signal-to-noise ratio of the outputs against eager
PyTorch in dB (exact: equal to the bit), top-1 the least share of images with the same best class. Accuracy is that of
real digits held out from the training, from image files: eager PyTorch behind its owner's own transforms before, and
`onnx-fp32` in the runtime after.

| {" | ".join(COLUMNS)} |
|{"--:|" + "---|" * 3 + "--:|" * 9}
"""


def line(row: Row, images: Path) -> str:
    with TemporaryDirectory() as folder:
        exported = export_row(row, Path(folder), images, formats=("onnx", "torchscript"))
        return f"{head(row)}{' | '.join(figures(exported))} |\n"


def head(row: Row) -> str:
    return f"| {row.number} | {row.network} | {row.saved} | {row.said and f'`{row.said}`'} | "


def figures(exported: Exported) -> Iterator[str]:
    variants = [exported.bundle.manifest.variant(name) for name in ("onnx-fp32", "torchscript-fp32")]
    parities = [variant.parity for variant in variants if variant.parity is not None]
    yield f"{sum(parameter.numel() for parameter in exported.owner.parameters()):,}"
    yield megabytes(exported.checkpoint.stat().st_size)
    yield from (megabytes(variant.bytes) for variant in variants)
    yield from ("exact" if parity.snr_db is None else f"{parity.snr_db:.0f}" for parity in parities)
    yield f"{min(parity.top1_agreement for parity in parities):.2%}"
    if exported.row.trained:
        truth = [DIGITS.index(file.parent.name) for file in exported.files]
        for found in (owners_answers(exported), answers(exported)[0]):
            yield f"{(found.argmax(axis=1) == truth).mean():.2%}"
    else:
        yield from ("", "")


def megabytes(size: int) -> str:
    return f"{size / 1e6:,.2f}" if size < 1e7 else f"{size / 1e6:,.1f}"


def main(numbers: list[str]) -> None:
    """Make the lines of the rows with these numbers anew, all of them where none are given."""
    before = TABLE.read_text(encoding="utf-8").splitlines(keepends=True) if TABLE.exists() else []
    rows = sorted(lesson_rows(), key=lambda row: row.number)
    with TemporaryDirectory() as images:
        for row in rows:
            if not numbers or str(row.number) in numbers:
                print(row, file=sys.stderr, flush=True)
                before.insert(0, line(row, Path(images)))
                newest = (next((made for made in before if made.startswith(head(row))), "") for row in rows)
                TABLE.write_text(HEADER + "".join(newest), encoding="utf-8")
    print(TABLE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main(sys.argv[1:])
