"""What compression brings to a real VGG-16: size, latency and accuracy beside the variants that are not compressed.

    python tests/benchmark/trained_vgg16.py TUMOR_CLASSIFIER.onnx FASHION_MNIST_DIR DIR/vgg16.pth
    python tests/benchmark/compressed_vgg16.py DIR
    python tests/benchmark/compressed_vgg16.py DIR --random-head

Exports DIR/vgg16.pth to DIR/vgg16.bundle, unless it is there, and measures it with ``vgg-bench``: every variant on
ONNX Runtime and OpenVINO, one process each, in turns. Takes three quarters of an hour on two cores. With a random head
of 1,000 classes, size and speed of a sixth of the operations are measured, and nothing is judged.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import torch
from cold_start import PROGRAM, compile_packages, ratio_figure, run_in_turns
from figure import Figure

from vgg_models import load_model
from vgg_models.architectures.vgg import build_vgg
from vgg_runtime import open_bundle

# The exit code of vgg-export when the gate left out a quantized variant; the others are measured.
VARIANT_LEFT_OUT = 4

SMALLEST, INT8, BASELINE = "onnx-lowrank-int4-weights", "onnx-lowrank-int8-static", "onnx-int8-static"


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--images", default=2000, show_default=True, help="Labelled test images to judge by.")
@click.option("--random-head", is_flag=True, help="Take a random head of 1,000 classes.")
def main(folder: Path, images: int, random_head: bool) -> None:
    bundle = folder / ("random_head.bundle" if random_head else "vgg16.bundle")
    if bundle.exists():
        figures = []
    elif random_head:
        figures = export_figures(write_random_head(folder), bundle, folder, "6x", ["--no-verify"])
    else:
        judged = [
            "--samples",
            folder / "test",
            "--samples-size",
            str(images),
            "--labels",
            folder / "class_indices.json",
        ]
        figures = export_figures(folder / "vgg16.pth", bundle, folder, "auto", judged)
    image = next((folder / "test").rglob("*.png"))
    for figure in (
        *figures,
        *accuracy_figures(bundle, megabytes=26 if random_head else 11.5),
        *latency_figures(bundle),
        *first_prediction_figures(bundle, image),
    ):
        click.echo(figure.line())


def write_random_head(folder: Path) -> Path:
    """Write a VGG-16 with the convolutions of DIR/vgg16.pth and a head as torchvision initializes it."""
    torch.manual_seed(0)
    network = build_vgg("vgg16", num_classes=1000)
    trained = load_model(folder / "vgg16.pth").module
    network.features.load_state_dict(trained.get_submodule("features").state_dict())
    checkpoint = folder / "random_head.pth"
    torch.save(network.state_dict(), checkpoint)
    return checkpoint


def export_figures(checkpoint: Path, bundle: Path, folder: Path, compress: str, options: list[Any]) -> list[Figure]:
    command = [tool("vgg-export"), checkpoint, "-o", bundle, "--format", "onnx", "--compress", compress]
    command += ["--quantize", "static", "--quantize", "int4-weights", "--calibration", folder / "train"]
    command += ["--preprocess", folder / "preprocess.json", *options]
    started = time.perf_counter()
    if subprocess.run(command, check=False).returncode not in (0, VARIANT_LEFT_OUT):
        raise SystemExit("the export failed")
    minutes = (time.perf_counter() - started) / 60
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    return [once("the whole export: minutes", minutes), once("the whole export: peak memory in GiB", memory)]


def accuracy_figures(bundle: Path, *, megabytes: float) -> list[Figure]:
    figures = []
    for variant in open_bundle(bundle).manifest.variants:
        bound = f"at most {megabytes}" if variant.name == SMALLEST else ""
        figures.append(once(f"{variant.name}: MB", variant.bytes / 1e6, bound))
        if variant.parity is not None:
            figures.append(once(f"{variant.name}: top-1 agreement with eager PyTorch", variant.parity.top1_agreement))
        if (accuracy := variant.accuracy) is not None:
            lost = [-100 * value for value in (accuracy.variant - accuracy.eager, accuracy.high, accuracy.low)]
            figures.append(Figure(f"{variant.name}: points of accuracy lost", lost[0], "at most 1.0", *lost[1:]))
    return figures


def latency_figures(bundle: Path) -> list[Figure]:
    command = [tool("vgg-bench"), bundle, "--backend", "onnxruntime", "--backend", "openvino", "--json", "-"]
    rows = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)["rows"]
    milliseconds: dict[tuple[str, str], dict[str, Any]] = {
        (row["subject"]["variant"], row["subject"]["backend"]): row["latency"]["p50"] for row in rows if row["latency"]
    }
    figures = [once(f"{' on '.join(case)}: ms", each["value"]) for case, each in milliseconds.items()]
    for variant in low_rank_variants(bundle):
        own = milliseconds[variant, "onnxruntime"]["value"]
        for backend, bound in (("onnxruntime", "at most 0.45"), ("openvino", "at most 0.47")):
            ratio = own / milliseconds[BASELINE, backend]["value"]
            figures.append(once(f"{variant}: latency / {BASELINE} on {backend}", ratio, bound))
    return figures


def first_prediction_figures(bundle: Path, image: Path) -> list[Figure]:
    """From the start of a process to its answer; the files were verified on this machine before."""
    compile_packages()
    start = [sys.executable, "-P", str(PROGRAM)]
    plain = "plain session on onnx-fp32"
    commands = {plain: [*start, "plain", str(bundle / "onnx-fp32" / "model.onnx"), str(image)]}
    variants = low_rank_variants(bundle)
    for variant in variants:
        commands[variant] = [*start, "runtime", str(bundle), variant, str(image), "2"]
    seconds = {name: [each.seconds for each in runs] for name, runs in run_in_turns(commands, rounds=7).items()}
    return [
        ratio_figure(f"first prediction, {variant} / {plain}", seconds[variant], seconds[plain], 0.30)
        for variant in variants
    ]


def low_rank_variants(bundle: Path) -> list[str]:
    names = {variant.name for variant in open_bundle(bundle).manifest.variants}
    return [name for name in (INT8, SMALLEST) if name in names]


def tool(name: str) -> Path:
    return Path(sys.executable).with_name(name)


def once(what: str, value: float, bound: str = "") -> Figure:
    return Figure(what, value, bound, value, value)


if __name__ == "__main__":
    main()
