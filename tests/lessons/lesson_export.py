"""From a row of the table to a bundle and to answers, as its owner goes; and the owner's own answers."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lesson_images import DIGITS, PERMUTATION, image_folder
from lesson_rows import Row
from lesson_saving import SAVED_AS
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from vgg_export import ModelOptions, export
from vgg_export.variants.registry import Format
from vgg_runtime import Classifier
from vgg_runtime.bundle.directory import Bundle, open_bundle

__all__ = ["Exported", "answers", "export_row", "owners_answers"]

FLOWERS = ("daisy", "dandelion", "roses", "sunflowers", "tulips")
EXPRESSIONS = ("anger", "disgust", "fear", "happy", "sad", "surprised", "normal")


@dataclass(frozen=True)
class Exported:
    """What came of a row.

    Attributes:
        owner: the module that was saved.
        checkpoint: the file that it was saved to.
        labels: names of the classes; None where they are ImageNet's.
        files: images to run it on.
    """

    row: Row
    owner: nn.Module
    checkpoint: Path
    bundle: Bundle
    labels: tuple[str, ...] | None
    files: tuple[Path, ...]


def export_row(
    row: Row, folder: Path, images: Path, *, formats: tuple[Format, ...], samples: Path | None = None
) -> Exported:
    """Save the row's network in ``folder`` and export it from there.

    Args:
        images: where the images are kept.
        samples: images to judge by; by default those of the row.
    """
    owner = row.make()
    name, save = SAVED_AS[row.saved]
    checkpoint = folder / name
    save(owner, checkpoint)
    samples = samples or image_folder(images, row.images)
    labels, labels_file = _labels(row, owner, folder)
    options = row.options | {"preprocess": _preprocess(row, folder), "labels": labels_file}
    if not row.large:
        options["samples"] = str(samples)  # else noise: five images instead of fifteen
    bundle = folder / "net.bundle"
    if row.commands:
        _run("vgg-export", checkpoint, "-o", bundle, *_arguments(options | {"format": formats}))
    else:
        model = ModelOptions(options.pop("model", None), attribute_order=options.pop("attribute_order", False))
        export(checkpoint, bundle, model=model, formats=formats, **options)
    files = sorted(samples.rglob("*.png"))
    return Exported(row, owner, checkpoint, open_bundle(bundle), labels, tuple(files[::5] if row.large else files))


def _preprocess(row: Row, folder: Path) -> str:
    if isinstance(row.pixels.option, str):
        return row.pixels.option
    if file := row.pixels.option.get("permutation"):
        torch.save(PERMUTATION, folder / file)
    description = folder / "preprocess.json"
    description.write_text(json.dumps(row.pixels.option))
    return str(description)


def _labels(row: Row, owner: nn.Module, folder: Path) -> tuple[tuple[str, ...] | None, str]:
    """The names of the classes, and the file that its owner keeps them in."""
    if row.number == 17:
        return None, "imagenet"
    *_, last = (layer for layer in owner.modules() if isinstance(layer, nn.Linear))
    classes = last.out_features
    if classes == 1000:
        return None, "imagenet"
    if row.number == 2:
        file = folder / "class_indices.json"
        file.write_text(json.dumps({str(index): name for index, name in enumerate(FLOWERS)}))
        return FLOWERS, str(file)
    names = EXPRESSIONS if classes == 7 else DIGITS
    file = folder / "labels.txt"
    file.write_text("\n".join(names))
    return names, str(file)


def _arguments(options: dict[str, Any]) -> list[str]:
    arguments: list[str] = []
    for name, value in options.items():
        for one in value if isinstance(value, tuple) else (value,):
            arguments += [f"--{name.replace('_', '-')}", *([] if one is True else [str(one)])]
    return arguments


def _run(command: str, *arguments: object) -> str:
    """Run a command beside the owner's code, as a person does."""
    script = Path(sys.executable).parent / command
    done = subprocess.run(
        [script, *map(str, arguments)], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def owners_answers(exported: Exported) -> NDArray[np.float32]:
    """The probabilities (images, classes) that the owner's module gives in eager PyTorch."""
    images = [Image.open(file) for file in exported.files]
    with torch.inference_mode():
        parts = [exported.owner(batch).softmax(dim=1) for batch in exported.row.pixels(images).split(50)]
    found: NDArray[np.float32] = torch.cat(parts).numpy()
    return found


def answers(exported: Exported, variant: str = "onnx-fp32") -> tuple[NDArray[np.float32], list[str]]:
    """The same of the runtime, from the image files, and the best label of each image."""
    classes = exported.bundle.manifest.output.classes
    if exported.row.commands and variant == "onnx-fp32":
        options = ("--top-k", classes, "--device", "cpu", "--json")
        told = json.loads(_run("vgg-run", "predict", exported.bundle.directory, *exported.files, *options))
        ranked = [[(p["index"], p["probability"], p["label"]) for p in image["predictions"]] for image in told]
    else:
        with Classifier.open(exported.bundle.directory, variant=variant, device="cpu") as classifier:
            predicted = classifier.predict_batch(exported.files, top_k=classes)
        ranked = [[(p.index, p.probability, p.label) for p in predictions] for predictions in predicted]
    probabilities = np.zeros((len(ranked), classes), dtype=np.float32)
    for row, predictions in zip(probabilities, ranked, strict=True):
        for index, probability, _ in predictions:
            row[index] = probability
    return probabilities, [predictions[0][2] for predictions in ranked]
