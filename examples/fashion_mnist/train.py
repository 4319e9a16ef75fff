"""Train a slim VGG on Fashion-MNIST and save it the way a lesson does: a state dict and class_indices.json.

    python examples/fashion_mnist/train.py --data DIR [--epochs N]

DIR is where torchvision keeps the data set, or a folder that holds its four ``*-ubyte.gz`` files (as Debian's
package dataset-fashion-mnist puts them into /usr/share/datasets/fashion-mnist). Nothing else in the repository
needs this script: the checkpoint that it writes, the preprocessing and some test images lie beside it.
"""

from __future__ import annotations

import gzip
import json
import tempfile
from pathlib import Path

import click
import torch
from torch import nn

from vgg_models._torchvision import import_torchvision

torchvision = import_torchvision()
transforms = torchvision.transforms

HERE = Path(__file__).parent
MEAN, STD = (0.2860,), (0.3530,)
CONFIGURATION = (32, 32, "M", 64, 64, "M", 128, 128, "M")
IMAGES_PER_CLASS = 2


class SlimVGG(nn.Module):
    """Six 3x3 convolutions in three stages and a head of two Linear layers. Input (N, 1, 28, 28)."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 1
        for entry in CONFIGURATION:
            if isinstance(entry, str):
                layers.append(nn.MaxPool2d(2))
            else:
                layers += [nn.Conv2d(channels, entry, 3, padding=1), nn.BatchNorm2d(entry), nn.ReLU(inplace=True)]
                channels = entry
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(channels * 3 * 3, 128), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(128, num_classes)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(torch.flatten(self.features(x), 1))


def load_split(root: Path, *, train: bool) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
    """Return images uint8 (N, 28, 28), labels int64 (N,) and the class names."""
    packed = sorted(root.glob("*-ubyte.gz"))
    with tempfile.TemporaryDirectory() as folder:
        if packed:
            raw = Path(folder) / "FashionMNIST" / "raw"
            raw.mkdir(parents=True)
            for file in packed:
                (raw / file.stem).write_bytes(gzip.decompress(file.read_bytes()))
            root = Path(folder)
        data = torchvision.datasets.FashionMNIST(str(root), train=train, download=True)
    return data.data, data.targets, data.classes


def normalize(images: torch.Tensor) -> torch.Tensor:
    """uint8 (N, 28, 28) to float32 (N, 1, 28, 28), as ToTensor and Normalize do."""
    return transforms.functional.normalize(images.unsqueeze(1).float() / 255, MEAN, STD)


def accuracy(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    model.eval()
    with torch.inference_mode():
        hits = [(model(x).argmax(1) == y).sum() for x, y in zip(images.split(500), labels.split(500), strict=True)]
    return int(sum(hits)) / len(labels)


def train(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, epochs: int, batch: int = 128) -> None:
    flip = transforms.RandomHorizontalFlip()
    steps = epochs * (len(images) // batch)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=steps)
    loss_of = nn.CrossEntropyLoss(label_smoothing=0.05)
    for epoch in range(epochs):
        model.train()
        for index in torch.randperm(len(images)).split(batch)[: len(images) // batch]:
            loss = loss_of(model(flip(images[index])), labels[index])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
        click.echo(f"epoch {epoch + 1}/{epochs}: loss {loss.item():.3f}")


def write_sample_images(images: torch.Tensor, labels: torch.Tensor, classes: list[str]) -> None:
    """The first test images of every class as PNG files, in one folder per class."""
    for index, name in enumerate(classes):
        folder = HERE / "images" / file_name(name)
        folder.mkdir(parents=True, exist_ok=True)
        for i in (labels == index).nonzero().flatten()[:IMAGES_PER_CLASS].tolist():
            transforms.functional.to_pil_image(images[i]).save(folder / f"{i:05d}.png")


def file_name(label: str) -> str:
    return label.lower().replace("/", "-").replace(" ", "-")


@click.command()
@click.option("--data", type=click.Path(path_type=Path), default=Path("data"), show_default=True)
@click.option("--epochs", default=8, show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(data: Path, epochs: int, seed: int) -> None:
    torch.manual_seed(seed)
    images, labels, classes = load_split(data, train=True)
    test_images, test_labels, _ = load_split(data, train=False)
    model = SlimVGG(len(classes))
    train(model, normalize(images), labels, epochs)
    click.echo(f"test accuracy: {accuracy(model, normalize(test_images), test_labels):.2%}")

    torch.save(model.state_dict(), HERE / "slim_vgg.pth")
    indices = {str(i): file_name(name) for i, name in enumerate(classes)}
    (HERE / "class_indices.json").write_text(json.dumps(indices, indent=4) + "\n")
    write_sample_images(test_images, test_labels, classes)


if __name__ == "__main__":
    main()
