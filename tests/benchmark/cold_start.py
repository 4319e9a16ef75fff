"""From the start of a process to its first prediction, and the memory that takes, in units of what others take.

python tests/benchmark/cold_start.py BUNDLE CHECKPOINT      BUNDLE holds onnx-fp32 and onnx-int8-static of CHECKPOINT

Each program runs in a process of its own, in turns; the files are in the page cache for all of them, and were
verified on this machine before; "hashed" is what its first start takes.
"""

from __future__ import annotations

import compileall
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import click
import numpy as np
import onnx
from figure import Figure
from PIL import Image

import vgg_models
import vgg_runtime
from vgg_calibration.onnx_io import read_onnx, write_onnx
from vgg_calibration.quantizers.base import QuantizationContext
from vgg_calibration.quantizers.int8_static import quantize_static_int8
from vgg_calibration.ranges.methods import Range
from vgg_calibration.targets import TARGETS
from vgg_runtime.bundle.directory import read_bundle

PROGRAM = Path(__file__).with_name("first_prediction.py")

# (subject, baseline, most of its time, most of its peak memory)
RATIOS = (
    ("runtime onnx-fp32", "eager", 0.15, None),
    ("runtime onnx-fp32", "plain onnx-fp32", 0.30, 0.70),
    ("runtime onnx-int8-static", "plain onnx-int8-static", 0.60, 0.70),
    ("runtime onnx-int8-static", "plain onnx-int8-static, our layout", None, None),
    ("runtime onnx-fp32", "runtime onnx-fp32 unverified", 1.10, None),
    ("runtime onnx-fp32 hashed", "runtime onnx-fp32 unverified", None, None),
    ("runtime onnx-int8-static", "runtime onnx-int8-static unverified", 1.10, None),
    ("runtime onnx-int8-static hashed", "runtime onnx-int8-static unverified", None, None),
)


@dataclass(frozen=True)
class Run:
    """One process.

    Attributes:
        seconds: from its start to its answer.
        peak: greatest resident set in MiB.
        answer: what it printed.
    """

    seconds: float
    peak: float
    answer: str


def run(command: Sequence[str]) -> Run:
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        answer = process.stdout.readline()
        seconds = time.perf_counter() - start
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed with {process.returncode}")
    return Run(seconds, usage.ru_maxrss / 1024, answer.strip())


def run_in_turns(commands: Mapping[str, Sequence[str]], rounds: int) -> dict[str, list[Run]]:
    runs: dict[str, list[Run]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name in list(commands)[:: 1 if number % 2 == 0 else -1]:
            done = run(commands[name])
            if number:  # the first round reads the files into the page cache
                runs[name].append(done)
    return runs


def ratio_figure(what: str, ours: Sequence[float], theirs: Sequence[float], most: float | None) -> Figure:
    ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    bound = "" if most is None else f"at most {most:.2f}"
    return Figure.of_rounds(what, ratios, bound)


def cold_start_figures(bundle: Path, checkpoint: Path, threads: int, rounds: int) -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(1, get_context("spawn")) as writer:
        # By another process: Linux counts the peak memory of whoever starts a process as its own.
        commands = writer.submit(write_subjects, bundle, checkpoint, Path(folder), threads).result()
        runs = run_in_turns(commands, rounds)
    for name, done in runs.items():
        seconds, peak = median(each.seconds for each in done), median(each.peak for each in done)
        click.echo(f"{name:<45} {seconds:6.3f} s {peak:7.0f} MiB  class {done[0].answer}")
    figures = []
    for name, baseline, most_time, most_memory in RATIOS:
        ours, theirs = runs[name], runs[baseline]
        seconds = [each.seconds for each in ours], [each.seconds for each in theirs]
        figures.append(ratio_figure(f"first prediction, {name} / {baseline}", *seconds, most_time))
        peaks = [each.peak for each in ours], [each.peak for each in theirs]
        figures.append(ratio_figure(f"peak memory, {name} / {baseline}", *peaks, most_memory))
    return figures


def compile_packages() -> None:
    """Compile to bytecode, as pip does with what it installs; what is editable may be compiled at every start."""
    for package in (vgg_runtime, vgg_models):
        compileall.compile_dir(package.__path__[0], quiet=1)


def write_subjects(bundle: Path, checkpoint: Path, folder: Path, threads: int) -> dict[str, list[str]]:
    """Write an image and each variant as a single file into ``folder``; return the commands by name."""
    image = folder / "x.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((500, 375), Image.Resampling.BICUBIC).save(image)
    start = [sys.executable, "-P", str(PROGRAM)]
    commands = {"eager": [*start, "eager", str(checkpoint), str(image), str(threads)]}
    files = {"onnx-fp32": folder / "fp32.onnx", "onnx-int8-static, our layout": folder / "int8.onnx"}
    for name, file in files.items():
        onnx.save(onnx.load(bundle / name.partition(",")[0] / "model.onnx"), file)
    files["onnx-int8-static"] = folder / "int8-as-quantized.onnx"
    write_as_onnxruntime_quantizes(bundle, files["onnx-int8-static"])
    commands |= {f"plain {name}": [*start, "plain", str(file), str(image)] for name, file in files.items()}
    for name in ("onnx-fp32", "onnx-int8-static"):
        ours = [*start, "runtime", str(bundle), name, str(image), str(threads)]
        commands |= {
            f"runtime {name}": ours,
            f"runtime {name} hashed": [*ours, "always"],
            f"runtime {name} unverified": [*ours, "never"],
        }
    return commands


def write_as_onnxruntime_quantizes(bundle: Path, file: Path) -> None:
    """Write onnx-int8-static with its fully connected weights as ONNX Runtime's own quantizer leaves them.

    vgg-export lays them out anew for the sake of loading, of which a plain session on that file has its share.
    """
    manifest = read_bundle(bundle).manifest
    assert manifest.calibration is not None
    ranges = {name: Range(*bounds) for name, bounds in manifest.calibration.ranges.items()}
    target = manifest.variant("onnx-int8-static").target
    model = read_onnx(bundle / "onnx-fp32" / "model.onnx")
    quantize_static_int8(model, QuantizationContext(TARGETS[str(target)], ranges))
    write_onnx(model, file, single_file=True)


def import_figure(rounds: int) -> Figure:
    """The time of an import alone: without that of the interpreter's own start."""
    names = {"nothing": "pass", "vgg_runtime": "import vgg_runtime", "numpy": "import numpy"}
    code = "import time; start = time.perf_counter(); {}; print(time.perf_counter() - start)"
    commands = {name: [sys.executable, "-P", "-c", code.format(line)] for name, line in names.items()}
    runs = run_in_turns(commands, rounds)
    taken = {name: [float(each.answer) for each in done] for name, done in runs.items()}
    return ratio_figure("import vgg_runtime / import numpy", taken["vgg_runtime"], taken["numpy"], 1.2)


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--threads", type=int, default=2, show_default=True)
@click.option("--rounds", type=int, default=5, show_default=True)
def main(bundle: Path, checkpoint: Path, threads: int, rounds: int) -> None:
    compile_packages()
    for figure in [import_figure(15), *cold_start_figures(bundle, checkpoint, threads, rounds)]:
        click.echo(figure.line())


if __name__ == "__main__":
    main()
