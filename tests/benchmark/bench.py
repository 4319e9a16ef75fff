"""``make bench``: the figures that the README states, each as a ratio taken in one run.

Measures a VGG-16 with random weights, which is enough for size, memory and speed. Takes some fifteen minutes and 4 GB
of disk in a temporary directory.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
import torch
from bounded_memory import bounded_memory_figure
from figure import Figure
from timings import bundle_subject, measure

from vgg_export import export
from vgg_models import load_model

HERE = Path(__file__).parent
PHOTOS = HERE.parents[1] / "examples" / "fashion_mnist" / "images"

WORDS = ("dynamic", "static", "int8-weights", "int4-weights", "fp16")

# variant: (most MB, most latency in units of fp32 of the same format) that a VGG-16 must reach on a VNNI machine
QUANTIZED = {
    "onnx-int8-dynamic": (183, 1.0),
    "torchscript-int8-dynamic": (185, 1.0),
    "onnx-int8-weights": (155, 1.0),
    "onnx-int4-weights": (82, None),
    "onnx-int8-static": (140, 0.33),
    "onnx-fp16": (278, None),
}


def peak_memory_of(command: list[str]) -> tuple[int, str]:
    """Run ``command`` and return its peak resident memory in bytes, and what it printed."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        printed = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed with {process.returncode}")
    return usage.ru_maxrss * 1024, printed


def save_vgg16(path: Path) -> None:
    torch.save(load_model("random:vgg16").module.state_dict(), path)


def export_figures(checkpoint: Path, bundle: Path) -> list[Figure]:
    tool = Path(sys.executable).with_name("vgg-export")
    memory, printed = peak_memory_of([str(tool), str(checkpoint), "-o", str(bundle), "--json"])
    size = checkpoint.stat().st_size
    figures = [_once("export with both formats and parity: peak memory / checkpoint", memory / size, "at most 4")]
    for variant in json.loads(printed)["manifest"]["variants"]:
        snr_db = variant["parity"]["snr_db"]
        value = float("inf") if snr_db is None else snr_db
        figures.append(_once(f"{variant['name']}: parity with eager PyTorch in dB", value, "at least 100"))
    return figures


def latency_figures(bundle: Path, threads: int) -> list[Figure]:
    plain = [sys.executable, str(HERE / "plain_session.py"), str(bundle / "onnx-fp32/model.onnx")]
    subjects = {"ours": bundle_subject(bundle, "onnx-fp32", threads=threads), "plain": plain}
    timings = measure(subjects, rounds=9, seconds=1.5)
    click.echo(f"onnx-fp32: {timings.latency('ours') * 1e3:.1f} ms, plain: {timings.latency('plain') * 1e3:.1f} ms")
    what = "onnx-fp32: latency / plain InferenceSession"
    return [Figure.of_rounds(what, timings.ratios("ours", "plain"), "at most 1.03")]


def quantized_figures(checkpoint: Path, bundle: Path, photos: Path, threads: int) -> list[Figure]:
    made = export(checkpoint, bundle, quantize=WORDS, calibration=photos, labels=None)
    sizes = {variant.name: variant.bytes / 1e6 for variant in made.manifest.variants}
    timings = measure({name: bundle_subject(bundle, name, threads=threads) for name in sizes}, rounds=7, seconds=1)
    figures = []
    for name, (most_mb, most_ratio) in QUANTIZED.items():
        figures.append(_once(f"{name}: MB", sizes[name], f"at most {most_mb}"))
        baseline = f"{name.split('-')[0]}-fp32"
        bound = "" if most_ratio is None else f"at most {most_ratio}"
        figures.append(Figure.of_rounds(f"{name}: latency / {baseline}", timings.ratios(name, baseline), bound))
    return figures


def example_memory_figure(bundle: Path) -> Figure:
    return bounded_memory_figure(export_example(bundle))


def export_example(bundle: Path, **options: Any) -> Path:
    example = PHOTOS.parent
    settings = {"preprocess": example / "preprocess.json", "labels": example / "class_indices.json", "samples": PHOTOS}
    return export(example / "slim_vgg.pth", bundle, formats=["onnx"], **settings, **options).directory


def _once(what: str, value: float, bound: str) -> Figure:
    return Figure(what, value, bound, value, value)


@click.command()
@click.option("--photos", type=click.Path(path_type=Path), default=PHOTOS, help="Real images to calibrate on.")
@click.option(
    "--accuracy", type=click.Path(path_type=Path), help="Class folders of test images: the example's accuracy."
)
@click.option("--threads", type=int, default=len(os.sched_getaffinity(0)), show_default=True)
def main(photos: Path, accuracy: Path | None, threads: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        checkpoint, bundle = Path(folder) / "vgg16.pth", Path(folder) / "vgg16.bundle"
        save_vgg16(checkpoint)
        figures = export_figures(checkpoint, bundle) + latency_figures(bundle, threads)
        quantized = Path(folder) / "quantized.bundle"
        figures += quantized_figures(checkpoint, quantized, photos, threads)
        figures.append(example_memory_figure(Path(folder) / "example.bundle"))
        if accuracy is not None:
            every = export_example(Path(folder) / "every.bundle", quantize=WORDS, calibration=PHOTOS)
            subprocess.run([sys.executable, HERE / "accuracy.py", every, accuracy], check=True)
        # Processes of their own: Linux counts the peak memory of whoever starts a process as that of the process.
        setting = ["--threads", str(threads)]
        cold_start = [str(HERE / "cold_start.py"), str(quantized), str(checkpoint), *setting]
        images = [str(HERE / "image_latency.py"), str(quantized), "--photos", str(photos), *setting]
        for script in (cold_start, images):
            subprocess.run([sys.executable, *script], check=True)
    for figure in figures:
        click.echo(figure.line())


if __name__ == "__main__":
    main()
