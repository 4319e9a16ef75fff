"""What the compression of VGG-16's convolutions costs on photographs, by how many crops it was fitted to.

    python tests/benchmark/compressed_photographs.py vgg16.pth PHOTOS [--crops 200 --crops 2000] [--speedup 4]

vgg16.pth is what ``trained_vgg16.py`` writes, with ImageNet's convolutions. PHOTOS is a folder of photographs without
labels, such as /usr/share/backgrounds/mate/nature of Debian's mate-backgrounds. Every third one is set apart, and the
error of the last pooling layer is measured on 60 crops of those: relative, ``|compressed - original| / |original|``.
"""

from __future__ import annotations

import time
from pathlib import Path

import click
import numpy as np
import torch
from figure import Figure
from PIL import Image
from torch import Tensor, nn
from trained_vgg16 import PREPROCESSING

from vgg_models import LowRankNetwork, load_model

SIDE, BATCH, COMPARED = 224, 8, 60
# Before it is cropped a photograph is scaled to a shorter side of this many pixels.
SCALES = (256, 640)


@click.command()
@click.argument("checkpoint", type=click.Path(exists=True, path_type=Path))
@click.argument("photos", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--crops", multiple=True, default=(200, 2000), show_default=True)
@click.option("--speedup", default=4.0, show_default=True)
def main(checkpoint: Path, photos: Path, crops: tuple[int, ...], speedup: float) -> None:
    files = sorted(file for file in photos.iterdir() if file.suffix in {".jpg", ".jpeg", ".png"})
    to_compare = random_crops(files[::3], COMPARED, seed=0)
    to_fit = random_crops([file for file in files if file not in files[::3]], max(crops), seed=1)
    features = load_model(checkpoint).module.get_submodule("features")
    answers = outputs(features, to_compare)
    for count in crops:
        started = time.perf_counter()
        network = LowRankNetwork(features, to_fit[:count].split(BATCH))
        compressed = network.build(network.ranks(speedup=speedup))
        minutes = (time.perf_counter() - started) / 60
        error = float((outputs(compressed, to_compare) - answers).norm() / answers.norm())
        for what, value in (("relative error of the last pooling layer", error), ("minutes", minutes)):
            click.echo(Figure(f"{count} crops, {speedup:g}x: {what}", value, "", value, value).line())


def random_crops(files: list[Path], count: int, *, seed: int) -> Tensor:
    """Return crops of the photographs in turn, at random scales and places: float32 (count, 3, 224, 224)."""
    generator = torch.Generator().manual_seed(seed)

    def below(limit: int) -> int:
        return int(torch.randint(limit, (), generator=generator))

    photographs = [Image.open(file).convert("RGB") for file in files]
    crops = []
    for index in range(count):
        photograph = photographs[index % len(photographs)]
        width, height = photograph.size
        side = SIDE * min(width, height) // (SCALES[0] + below(SCALES[1] - SCALES[0]))
        left, top = below(width - side + 1), below(height - side + 1)
        box = (left, top, left + side, top + side)
        crop = photograph.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=box)
        crops.append(torch.from_numpy(PREPROCESSING.normalize(np.asarray(crop))))
    return torch.stack(crops)


@torch.inference_mode()
def outputs(network: nn.Module, images: Tensor) -> Tensor:
    return torch.cat([network(batch) for batch in images.split(BATCH)])


if __name__ == "__main__":
    main()
