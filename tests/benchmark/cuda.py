"""``make bench-gpu``: a VGG-16 on CUDA beside PyTorch there, each figure a ratio taken in one run.

python tests/benchmark/cuda.py FOLDER [--device cpu]

FOLDER keeps the checkpoint and the bundles, which are made unless they are there, and what vgg-bench writes, cuda.json
and cuda.html. The network has random weights, which is enough for size, memory and speed. On the CPU the same is
measured, to try the script.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from statistics import fmean, median
from threading import Event, Thread
from typing import Literal

import click
import numpy as np
import torch
from figure import Figure
from image_latency import PHOTOS, large_photographs

from vgg_bench.cases import WORKER
from vgg_bench.results import BenchmarkCase, Results, Row, on_device
from vgg_bench.runner import SCHEDULE
from vgg_bench.timing import nvml
from vgg_bench.timing.process import Failure, Turn
from vgg_bench.timing.rounds import turns
from vgg_export import export
from vgg_models import load_model
from vgg_runtime import Classifier

Device = Literal["cpu", "cuda"]

# What is measured of the variants: (what, row, row that it is a ratio to, batch size, bound); rows as variant, engine.
# "latency" is that of the first in units of the second; "images a second" the inverse.
FP16, FP32 = ("onnx-fp16", "onnxruntime"), ("onnx-fp32", "onnxruntime")
GOALS: tuple[tuple[str, tuple[str, str], tuple[str, str], int, str], ...] = (
    ("images a second", FP16, ("autocast-fp16", "pytorch"), 64, "at least 2.0"),
    ("images a second", FP16, ("compiled-fp16", "pytorch"), 64, "at least 0.9"),
    ("images a second", FP32, ("eager", "pytorch"), 64, ""),
    ("images a second", FP16, FP32, 64, ""),
    ("images a second", ("onnx-int8-static", "onnxruntime"), FP16, 64, ""),
    ("cold start", FP32, ("eager", "pytorch"), 1, "at most 0.5"),
    ("cold start", FP16, ("eager", "pytorch"), 1, ""),
)


def prepare(folder: Path, network: str) -> tuple[Path, Path, Path]:
    """Return the checkpoint, its bundle, and the bundle that takes pixels."""
    checkpoint, planes, pixels = folder / "net.pth", folder / "planes.bundle", folder / "pixels.bundle"
    if not checkpoint.exists():
        torch.save(load_model(f"random:{network}").module.state_dict(), checkpoint)
    if not planes.exists():
        export(checkpoint, planes, quantize=("fp16", "static"), calibration=PHOTOS, labels=None)
    if not pixels.exists():
        export(checkpoint, pixels, quantize=("fp16",), formats=["onnx"], embed_preprocessing=True, labels=None)
    return checkpoint, planes, pixels


def measured(bundle: Path, output: Path, device: Device, batch_sizes: Sequence[int], *options: str) -> Results:
    """Run vgg-bench, which shows its table, and return what it wrote."""
    sizes = [word for size in batch_sizes for word in ("--batch-size", str(size))]
    tool = Path(sys.executable).with_name("vgg-bench")
    # A variant that cannot run on the device is a row that says so, and an exit code.
    subprocess.run([tool, bundle, "--device", device, *sizes, "--json", output, *options], check=False)
    return Results.parse(output.read_bytes(), source=str(output))


def figures_of(results: Results, device: Device) -> Iterator[Figure]:
    rows, threads = {row.subject: row for row in results.measured}, results.rows[0].subject.threads
    for what, one, other, batch, bound in GOALS:
        pair = [BenchmarkCase(name, on_device(engine, device), batch, threads) for name, engine in (one, other)]
        if rows.keys() >= set(pair):
            ours, theirs = (rows[subject] for subject in pair)
            text = f"batch {batch}, {one[0]} / {other[0]} of {other[1]}: {what}"
            yield Figure.of_rounds(text, list(ratios(what, ours, theirs)), bound)
    for subject, row in rows.items():
        plain = rows.get(BenchmarkCase(subject.variant, on_device("onnxruntime", device), subject.batch_size, threads))
        if subject.cuda_mode and plain:
            bound = "at most 0.7" if (subject.cuda_mode, subject.batch_size) == ("graph", 1) else ""
            text = f"batch {subject.batch_size}, {subject.variant}: latency, {subject.cuda_mode} / without"
            yield Figure.of_rounds(text, list(ratios("latency", row, plain)), bound)


def ratios(what: str, one: Row, other: Row) -> Iterator[float]:
    if what == "cold start":
        assert one.cold_start_s is not None
        assert other.cold_start_s is not None
        yield one.cold_start_s.value / other.cold_start_s.value
        return
    for ours, theirs in zip(one.rounds, other.rounds, strict=True):
        ratio = median(ours) / median(theirs)
        yield 1 / ratio if what == "images a second" else ratio


def pixel_figures(planes: Path, pixels: Path, device: Device, batch_size: int) -> Iterator[Figure]:
    """Latency and copies of onnx-fp16 on pixels, in units of those on planes."""
    placed = ("--variant", "onnx-fp16", "--backend", "onnxruntime", "--device", device, "--batch-size", str(batch_size))
    subjects = {bundle.stem: (*WORKER, os.fspath(bundle), *placed) for bundle in (planes, pixels)}
    taken: dict[str, list[Turn]] = {name: [] for name in subjects}
    for name, turn in turns(subjects, SCHEDULE):
        if isinstance(turn, Failure):
            raise SystemExit(f"the process that measures {name} failed: {turn.message}")
        taken[name].append(turn)
    pairs = list(zip(taken[pixels.stem], taken[planes.stem], strict=True))
    text = f"batch {batch_size}, onnx-fp16: pixels / planes"
    latency = [median(ours.latencies) / median(theirs.latencies) for ours, theirs in pairs]
    yield Figure.of_rounds(f"{text}: latency", latency, "")
    copies = [ours.copies_s / theirs.copies_s for ours, theirs in pairs if ours.copies_s and theirs.copies_s]
    if copies:
        yield Figure.of_rounds(f"{text}: copies", copies, "")


@contextmanager
def busy_shares() -> Iterator[list[float]]:
    """Collect what the driver says of the GPU ten times a second."""
    shares: list[float] = []
    done = Event()

    def watch() -> None:
        while not done.wait(0.1):
            if (share := nvml.utilization()) is not None:
                shares.append(share)

    watcher = Thread(target=watch)
    watcher.start()
    try:
        yield shares
    finally:
        done.set()
        watcher.join()


def folder_figure(bundle: Path, photos: Path, device: Device, batch_size: int, count: int) -> Figure:
    """How many images a second a folder of photographs gives, in units of the model alone in the same process."""
    photos.mkdir(exist_ok=True)
    missing = count - len(list(photos.iterdir()))
    for number, image in enumerate(islice(large_photographs(PHOTOS), max(0, missing))):
        image.resize((640, 480)).save(photos / f"{number:04d}.jpg", quality=90)
    files = sorted(photos.iterdir())[:count]
    values = []
    with Classifier.open(bundle, variant="onnx-fp16", device=device) as classifier:
        batch = np.stack([classifier.preprocess(file) for file in files[:batch_size]])
        classifier.logits(batch)
        for _ in range(5):
            start = time.perf_counter()
            for _ in range(count // batch_size):
                classifier.logits(batch)
            alone = count // batch_size * batch_size / (time.perf_counter() - start)
            with busy_shares() as shares:
                start = time.perf_counter()
                for _ in classifier.predict_files(files, batch_size=batch_size):
                    pass
                together = len(files) / (time.perf_counter() - start)
            busy = f", GPU busy {fmean(shares):.0%}" if shares else ""
            click.echo(f"model alone {alone:.0f} images/s, folder {together:.0f} images/s{busy}")
            values.append(together / alone)
        threads = classifier.threads
    text = f"batch {batch_size}, folder of {count} JPEG files of 640x480, {threads} threads / model alone"
    return Figure.of_rounds(f"{text}: images a second", values, "at least 0.9")


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cuda", show_default=True)
@click.option("--network", default="vgg16", show_default=True)
@click.option("--batch-size", "batch_sizes", multiple=True, type=int, default=(1, 8, 64, 256), show_default=True)
@click.option("--count", default=2048, show_default=True, help="Photographs of the folder.")
@click.option("--quick", is_flag=True, help="As vgg-bench takes it.")
@click.option("--prepare-only", is_flag=True, help="Make the bundles, and measure nothing.")
def main(
    folder: Path,
    *,
    device: Device,
    network: str,
    batch_sizes: tuple[int, ...],
    count: int,
    quick: bool,
    prepare_only: bool,
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint, planes, pixels = prepare(folder, network)
    if prepare_only:
        return
    options = ["--quick"] if quick else []
    page = ["--html", os.fspath(folder / "cuda.html"), "--checkpoint", os.fspath(checkpoint)]
    results = measured(planes, folder / "cuda.json", device, batch_sizes, *page, *options)
    figures = list(figures_of(results, device))
    for batch_size in batch_sizes:
        figures += pixel_figures(planes, pixels, device, batch_size)
    figures.append(folder_figure(planes, folder / "photos", device, min(64, max(batch_sizes)), count))
    click.echo(f"{results.machine.gpu}, {results.versions}")
    for figure in figures:
        click.echo(figure.line())


if __name__ == "__main__":
    main()
