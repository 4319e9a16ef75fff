"""Accuracy of every ONNX variant of a bundle on a folder of labelled test images, against onnx-fp32.

python tests/benchmark/accuracy.py BUNDLE DIR      DIR holds one folder of images per class, named after its label
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from vgg_bench.images import classes_from_folders
from vgg_export.accuracy import compare_accuracy
from vgg_runtime import Classifier
from vgg_runtime.bundle.directory import open_bundle
from vgg_runtime.imaging.folders import find_images

BATCH = 8


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
def main(bundle: Path, folder: Path) -> None:
    manifest = open_bundle(bundle).manifest
    files = find_images([folder])
    truth = classes_from_folders([file.relative_to(folder).as_posix() for file in files], manifest.labels)
    if truth is None:
        raise click.UsageError("the folders are not named after the bundle's labels")
    outputs = {}
    for name in (variant.name for variant in manifest.variants if variant.format == "onnx"):
        with Classifier.open(bundle, variant=name, device="cpu") as classifier:
            batches = [
                np.stack([*map(classifier.preprocess, files[i : i + BATCH])]) for i in range(0, len(files), BATCH)
            ]
            outputs[name] = np.concatenate([classifier.logits(batch) for batch in batches])
        found = compare_accuracy(truth, outputs["onnx-fp32"], outputs[name])
        agreement = (outputs[name].argmax(axis=1) == outputs["onnx-fp32"].argmax(axis=1)).mean()
        click.echo(
            f"| {name} | {found.variant:.2%} | {(found.variant - found.eager) * 100:+.2f} "
            f"| {found.low * 100:+.2f} to {found.high * 100:+.2f} | {agreement:.2%} | {found.images} |"
        )


if __name__ == "__main__":
    main()
