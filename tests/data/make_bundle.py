"""Write bundle_vN: a bundle of the present schema version N, of a small network that tells three colours.

    python tests/data/make_bundle.py

Later releases must read it, so it is written once, by a release that has this schema, and stays as it is.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn.functional import cross_entropy

from vgg_export import Quantization, export
from vgg_runtime import Preprocessing
from vgg_runtime.bundle.directory import MEASURED, REPORT
from vgg_runtime.bundle.manifest import SCHEMA_VERSION

COLOURS = ("red", "lime", "blue")
SIZE = 8


def images(generator: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise uint8 (count, SIZE, SIZE, 3), with more of one channel, and which one that is."""
    classes = np.arange(count) % 3
    pixels = generator.integers(0, 156, (count, SIZE, SIZE, 3), dtype=np.uint8)
    pixels[np.arange(count), :, :, classes] += 100
    return pixels, classes


def trained(generator: np.random.Generator) -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    network = nn.Sequential(*layers, nn.Linear(8 * (SIZE // 2) ** 2, 3))
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(100):
        pixels, classes = images(generator, 30)
        loss = cross_entropy(
            network(torch.from_numpy(pixels / np.float32(255)).permute(0, 3, 1, 2)), torch.from_numpy(classes)
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


def main() -> None:
    bundle = Path(__file__).with_name(f"bundle_v{SCHEMA_VERSION}")
    generator = np.random.default_rng(0)
    network = trained(generator)
    with tempfile.TemporaryDirectory() as folder:
        for i, (pixels, colour) in enumerate(zip(*images(generator, 90), strict=True)):
            file = Path(folder, COLOURS[colour], f"{i:02}.png")
            file.parent.mkdir(exist_ok=True)
            Image.fromarray(pixels).save(file)
        export(
            network,
            bundle,
            input_size=SIZE,
            preprocess=Preprocessing(resize=(SIZE, SIZE)),
            labels=COLOURS,
            quantize=Quantization(["static", "dynamic", "int4-weights"]),
            calibration=folder,
            samples=folder,
        )
    for machine_dependent in (MEASURED, REPORT):
        (bundle / machine_dependent).unlink()


if __name__ == "__main__":
    main()
