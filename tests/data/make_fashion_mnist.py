"""Write fashion_mnist.npz: the first 300 training and the first 500 test images of Fashion-MNIST, and their classes.

    python tests/data/make_fashion_mnist.py DIR

DIR holds the four ``*-ubyte.gz`` files of https://github.com/zalandoresearch/fashion-mnist. The same bytes come out
every time.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import click
import numpy as np

# split: what its files' names begin with, and how many of its images are kept
SPLITS = {"train": ("train", 300), "test": ("t10k", 500)}


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
def main(folder: Path) -> None:
    arrays = {}
    for split, (prefix, count) in SPLITS.items():
        images = gzip.decompress((folder / f"{prefix}-images-idx3-ubyte.gz").read_bytes())
        classes = gzip.decompress((folder / f"{prefix}-labels-idx1-ubyte.gz").read_bytes())
        arrays[f"{split}_images"] = np.frombuffer(images, np.uint8, offset=16).reshape(-1, 28, 28)[:count]
        arrays[f"{split}_classes"] = np.frombuffer(classes, np.uint8, offset=8)[:count]
    np.savez_compressed(Path(__file__).with_name("fashion_mnist.npz"), **arrays)


if __name__ == "__main__":
    main()
