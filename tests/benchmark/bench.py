"""``make bench``: the figures that the README states, each as a ratio taken in one run.

Measures a VGG-16 with random weights, which is enough for size, memory and speed. Takes a few minutes and 3 GB of
disk in a temporary directory.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import click
import torch

from vgg_models import load_model
from vgg_runtime.benchmark.rounds import bundle_subject, measure

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Figure:
    """One measured ratio.

    Attributes:
        low, high: its spread over the rounds, or the value twice where it was measured once.
    """

    what: str
    value: float
    bound: str
    low: float
    high: float

    def line(self) -> str:
        spread = "" if self.low == self.high else f"  ({self.low:.3f} to {self.high:.3f})"
        return f"{self.what:<72} {self.value:8.3f}  {self.bound}{spread}"


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
    ratio = timings.ratio("ours", "plain")
    click.echo(f"onnx-fp32: {timings.latency('ours') * 1e3:.1f} ms, plain: {timings.latency('plain') * 1e3:.1f} ms")
    return [Figure("onnx-fp32: latency / plain InferenceSession", ratio.value, "at most 1.03", ratio.low, ratio.high)]


def _once(what: str, value: float, bound: str) -> Figure:
    return Figure(what, value, bound, value, value)


@click.command()
@click.option("--threads", type=int, default=len(os.sched_getaffinity(0)), show_default=True)
def main(threads: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        checkpoint, bundle = Path(folder) / "vgg16.pth", Path(folder) / "vgg16.bundle"
        save_vgg16(checkpoint)
        figures = export_figures(checkpoint, bundle) + latency_figures(bundle, threads)
    for figure in figures:
        click.echo(figure.line())


if __name__ == "__main__":
    main()
