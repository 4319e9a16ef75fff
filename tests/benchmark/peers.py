"""VGG-11 in the engines that phones use, ExecuTorch (XNNPACK) and LiteRT, beside onnxruntime: one thread, in turns.

    python -m venv peers
    peers/bin/pip install torch==2.13.0 executorch==1.5.1 litert-torch==0.10.0 click
    .venv/bin/python tests/benchmark/peers.py compare FOLDER --peers peers/bin/python

Weights are random. Calibration and outputs are of crops of scikit-learn's two photographs.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np

Engine = Callable[[np.ndarray], np.ndarray]

CALIBRATION, JUDGED, WARM_UP, CALLS = 32, 8, 3, 15
PEERS = {
    "ExecuTorch fp32": "executorch-fp32.pte",
    "ExecuTorch int8": "executorch-int8.pte",
    "LiteRT fp32": "litert-fp32.tflite",
    "LiteRT int8, static": "litert-int8-static.tflite",
    "LiteRT int8, dynamic": "litert-int8-dynamic.tflite",
}
OURS = {"onnx-fp32": "vgg11.bundle/onnx-fp32", "onnx-int8-static": "vgg11.bundle/onnx-int8-static"}


@click.group()
def cli() -> None:
    pass


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--peers", required=True, help="Python that has ExecuTorch and LiteRT.")
@click.option("--rounds", default=5, help="Processes of each engine, in turns.")
def compare(folder: Path, peers: str, rounds: int) -> None:
    """Write the models, time them, and print the table."""
    folder.mkdir()
    script = str(Path(__file__).resolve())
    write_network(folder)
    subprocess.run([peers, script, "write", folder], check=True)
    options = ["--format", "onnx", "--quantize", "static", "--target", "vnni", "--labels", "imagenet", "--calibration"]
    export = [Path(sys.executable).with_name("vgg-export"), folder / "vgg11.pth", "-o", folder / "vgg11.bundle"]
    subprocess.run(list(map(str, [*export, *options, folder / "images"])), check=True)
    interpreters = dict.fromkeys(PEERS, peers) | dict.fromkeys(OURS, sys.executable)
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in interpreters}
    for _ in range(rounds):
        for name, file in (PEERS | OURS).items():
            command = [interpreters[name], script, "measure", folder, file]
            done = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True)
            results[name].append(json.loads(done.stdout.splitlines()[-1]))
    print("| | MB | ms | lowest to highest | dB |\n|---|--:|--:|--:|--:|")
    for name, measured in results.items():
        ms = sorted(each["ms"] for each in measured)
        figures = f"{statistics.median(ms):.1f} | {ms[0]:.1f} to {ms[-1]:.1f} | {measured[0]['snr_db']:.1f}"
        print(f"| {name} | {megabytes(folder / (PEERS | OURS)[name]):.0f} | {figures} |")


def megabytes(path: Path) -> float:
    files = [path] if path.is_file() else list(path.iterdir())
    return sum(file.stat().st_size for file in files) / 1e6


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("file")
def measure(folder: Path, file: str) -> None:
    """Time one engine on one core, and compare its outputs with PyTorch's."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    inputs, expected = np.load(folder / "inputs.npy"), np.load(folder / "outputs.npy")
    run = {".pte": open_executorch, ".tflite": open_litert}.get(Path(file).suffix, open_onnx)(folder / file)
    outputs = np.concatenate([run(inputs[i : i + 1]) for i in range(JUDGED)])
    for _ in range(WARM_UP):
        run(inputs[:1])
    durations = []
    for _ in range(CALLS):
        start = time.perf_counter()
        run(inputs[:1])
        durations.append(time.perf_counter() - start)
    noise = ((outputs - expected) ** 2).sum()
    figures = {"ms": statistics.median(durations) * 1e3, "snr_db": float(10 * np.log10((expected**2).sum() / noise))}
    print(json.dumps(figures))


def open_onnx(variant: Path) -> Engine:
    from vgg_runtime import Classifier

    return Classifier(variant.parent, variant=variant.name, device="cpu", threads=1).logits


def open_executorch(file: Path) -> Engine:
    import torch
    from executorch.runtime import Runtime

    method = Runtime.get().load_program(file).load_method("forward")
    return lambda batch: method.execute([torch.from_numpy(batch)])[0].numpy()


def open_litert(file: Path) -> Engine:
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(str(file), num_threads=1).get_signature_runner()
    ((name, taken),) = runner.get_input_details().items()
    ((_, given),) = runner.get_output_details().items()

    def run(batch: np.ndarray) -> np.ndarray:
        (outputs,) = runner(**{name: quantize(batch, taken)}).values()
        return dequantize(outputs, given)

    return run


def quantize(values: np.ndarray, tensor: dict[str, Any]) -> np.ndarray:
    """Return the values in a tensor's dtype: float32, or int8 by its scale and zero point."""
    if tensor["dtype"] == np.float32:
        return values
    scale, zero_point = tensor["quantization"]
    return np.clip(np.round(values / scale) + zero_point, -128, 127).astype(np.int8)


def dequantize(values: np.ndarray, tensor: dict[str, Any]) -> np.ndarray:
    scale, zero_point = tensor["quantization"]
    return values if values.dtype == np.float32 else (values.astype(np.float32) - zero_point) * np.float32(scale)


def write_network(folder: Path) -> None:
    """Write the network, with random weights, the images, and eager PyTorch's outputs."""
    import torch

    from vgg_models._torchvision import import_torchvision

    torch.manual_seed(0)
    network = import_torchvision().models.vgg11(weights=None).eval()
    torch.save(network.state_dict(), folder / "vgg11.pth")
    batch = torch.from_numpy(write_images(folder / "images"))
    torch.export.save(torch.export.export(network, (batch[:1],)), folder / "vgg11.pt2")
    np.save(folder / "inputs.npy", batch.numpy())
    with torch.no_grad():
        np.save(folder / "outputs.npy", network(batch[:JUDGED]).numpy())


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path))
def write(folder: Path) -> None:
    """Write the peers' models."""
    import torch

    network, batch = torch.export.load(folder / "vgg11.pt2").module(), torch.from_numpy(np.load(folder / "inputs.npy"))
    write_executorch(network, batch, folder)
    write_litert(network, batch, folder)


def write_images(folder: Path) -> np.ndarray:
    """Write crops of photographs, and return them as the network takes them: float32 (images, 3, 224, 224)."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    from vgg_runtime.imaging.decode import read_image
    from vgg_runtime.imaging.folders import find_images
    from vgg_runtime.imaging.presets import preset

    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(CALIBRATION):
        photo = load_sample_images().images[i % 2]
        top, left = rng.integers(0, (photo.shape[0] - 260, photo.shape[1] - 260))
        Image.fromarray(photo[top : top + 260, left : left + 260]).save(folder / f"{i:02d}.png")
    preprocessing = preset("imagenet", (224, 224), 3)
    return np.stack([preprocessing(read_image(file)) for file in find_images([folder])])


def write_executorch(network: Any, batch: Any, folder: Path) -> None:
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.backends.xnnpack.quantizer import xnnpack_quantizer
    from executorch.exir import to_edge_transform_and_lower
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    example = (batch[:1],)
    quantizer = xnnpack_quantizer.XNNPACKQuantizer()
    quantizer.set_global(xnnpack_quantizer.get_symmetric_quantization_config(is_per_channel=True))
    prepared = prepare_pt2e(torch.export.export(network, example).module(), quantizer)
    for image in batch:
        prepared(image[None])
    for name, module in {"fp32": network, "int8": convert_pt2e(prepared)}.items():
        program = torch.export.export(module, example)
        lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch()
        (folder / f"executorch-{name}.pte").write_bytes(lowered.buffer)


def write_litert(network: Any, batch: Any, folder: Path) -> None:
    import litert_torch
    from ai_edge_quantizer import quantizer, recipe

    float_file = folder / "litert-fp32.tflite"
    litert_torch.convert(network, (batch[:1],)).export(str(float_file))
    static = quantizer.Quantizer(str(float_file), recipe.static_wi8_ai8())
    images = {"serving_default": [{"args_0": image[None].numpy()} for image in batch]}
    static.quantize(static.calibrate(images)).export_model(str(folder / "litert-int8-static.tflite"))
    dynamic = quantizer.Quantizer(str(float_file), recipe.dynamic_wi8_afp32())
    dynamic.quantize().export_model(str(folder / "litert-int8-dynamic.tflite"))


if __name__ == "__main__":
    cli()
