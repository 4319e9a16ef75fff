"""What images cost beside the model: one JPEG at a time, and folders of photographs.

python tests/benchmark/image_latency.py BUNDLE [--photos FOLDER]      BUNDLE holds onnx-fp32 and onnx-int8-static

Every subject is a process of its own, in turns. The photographs are made from those in --photos, enlarged or shrunk to
five megapixels, and are in the page cache for all subjects.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from statistics import median

import click
from figure import Figure
from PIL import Image, ImageOps
from timings import bundle_subject, measure

from vgg_runtime.imaging.folders import find_images

WORKER = Path(__file__).with_name("image_worker.py")
PHOTOS = Path(__file__).parents[2] / "examples" / "fashion_mnist" / "images"

BOUND = "at most 1.05"
JPEG = {
    "image_bytes": ("JPEG bytes of 224x224 to labels / model", BOUND),
    "pillow_and_model": ("Pillow's decoding and resizing of that + model / model", ""),
}
PHOTO_SIZE = (2560, 1920)
TURNS = tuple(Image.Transpose)


def jpeg_figures(bundle: Path, photos: Path, threads: int) -> list[Figure]:
    """From JPEG bytes at the network's size to labels, in units of the model's own latency."""
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        with Image.open(find_images([photos])[0]) as image:
            ImageOps.fit(image.convert("RGB"), (224, 224)).save(Path(folder, "224.jpg"), quality=90)
        for variant in ("onnx-fp32", "onnx-int8-static"):
            model = bundle_subject(bundle, variant, threads=threads)
            taken = {name: worker(name, bundle, variant, threads, Path(folder)) for name in JPEG}
            timings = measure({"model": model, **taken}, rounds=9, seconds=1.5)
            for name, (what, bound) in JPEG.items():
                figures.append(Figure.of_rounds(f"{variant}: {what}", timings.ratios(name, "model"), bound))
    return figures


def folder_figure(bundle: Path, photos: Path, threads: int, count: int = 500) -> Figure:
    """A folder of photographs, in units of decoding and resizing alone and the model alone, one after the other."""
    with tempfile.TemporaryDirectory() as folder:
        for number, image in enumerate(islice(large_photographs(photos), count)):
            image.save(Path(folder, f"{number:03d}.jpg"), quality=90)
        names = ("files", "decoding", "batches")
        subjects = {name: worker(name, bundle, "onnx-int8-static", threads, Path(folder)) for name in names}
        timings = measure(subjects, rounds=7, seconds=1, min_calls=2)
    each = (timings.rounds[name] for name in names)
    for name in names:
        click.echo(f"{name}: {timings.latency(name):.2f} s")
    ratios = [median(ours) / (median(decode) + median(run)) for ours, decode, run in zip(*each, strict=True)]
    what = f"onnx-int8-static: folder of {count} photographs / Pillow alone + model alone"
    return Figure.of_rounds(what, ratios, BOUND)


def large_photographs(photos: Path) -> Iterator[Image.Image]:
    """Yield photographs of ``PHOTO_SIZE`` without end: those in ``photos``, then the same turned and mirrored."""
    for turn in cycle((None, *TURNS)):
        for path in find_images([photos]):
            with Image.open(path) as image:
                large = ImageOps.fit(image.convert("RGB"), PHOTO_SIZE)
            yield large if turn is None else large.transpose(turn)


def worker(subject: str, bundle: Path, variant: str, threads: int, folder: Path) -> list[str]:
    return [sys.executable, str(WORKER), subject, str(bundle), variant, str(threads), str(folder)]


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--photos", type=click.Path(path_type=Path), default=PHOTOS, help="Real images.")
@click.option("--threads", type=int, default=len(os.sched_getaffinity(0)), show_default=True)
def main(bundle: Path, photos: Path, threads: int) -> None:
    for figure in (*jpeg_figures(bundle, photos, threads), folder_figure(bundle, photos, threads)):
        click.echo(figure.line())


if __name__ == "__main__":
    main()
