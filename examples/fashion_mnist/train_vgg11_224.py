"""Train a full-width VGG-11 with BatchNorm at 224 x 224 on Fashion-MNIST, in some fifteen minutes of two CPU cores.

    python examples/fashion_mnist/train_vgg11_224.py --data DIR --output vgg11_bn.pth

Progressive resizing makes that possible: most images are seen at 64 x 64, where a convolution costs a twelfth, and the
last ones at 224 x 224, so that BatchNorm and the head get to know the features of that size. The checkpoint (531 MB)
is what a lesson would save: a bare state dict of torchvision's layout. It is for measuring what quantization costs a
trained network of real size, and is not part of the repository.
"""

from __future__ import annotations

from pathlib import Path

import click
import torch
from torch import nn
from train import load_split

from vgg_models._torchvision import import_torchvision

torchvision = import_torchvision()

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def prepare(images: torch.Tensor, size: int) -> torch.Tensor:
    """uint8 (N, 28, 28) to float32 (N, 3, size, size): bilinear, three equal planes, ImageNet's mean and deviation."""
    planes = images.unsqueeze(1).float() / 255
    resized = nn.functional.interpolate(planes, (size, size), mode="bilinear", align_corners=False)
    return torchvision.transforms.functional.normalize(resized.expand(-1, 3, -1, -1).contiguous(), MEAN, STD)


def train_at(
    model: nn.Module, images: torch.Tensor, labels: torch.Tensor, *, size: int, batch: int, rates: tuple[float, float]
) -> None:
    """One pass over ``images`` at ``size`` pixels, the learning rate falling linearly between ``rates``."""
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=rates[0], momentum=0.9, weight_decay=5e-4)
    loss_of = nn.CrossEntropyLoss(label_smoothing=0.05)
    steps = torch.randperm(len(images)).split(batch)
    for number, index in enumerate(steps):
        share = number / len(steps)
        for group in optimizer.param_groups:
            group["lr"] = rates[0] + (rates[1] - rates[0]) * share
        loss = loss_of(model(prepare(images[index], size)), labels[index])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if number % 10 == 0:
            click.echo(f"{size} px, step {number} of {len(steps)}: loss {loss.item():.3f}")


def accuracy_at(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, size: int) -> float:
    model.eval()
    with torch.inference_mode():
        pairs = zip(images.split(20), labels.split(20), strict=True)
        hits = [(model(prepare(x, size)).argmax(1) == y).sum() for x, y in pairs]
    return int(sum(hits)) / len(labels)


@click.command()
@click.option("--data", type=click.Path(path_type=Path), default=Path("data"), show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=Path("vgg11_bn.pth"), show_default=True)
@click.option("--small", default=12_000, show_default=True, help="Images seen at 64 x 64.")
@click.option("--large", default=960, show_default=True, help="Images seen at 224 x 224.")
@click.option("--tested", default=500, show_default=True, help="Test images.")
def main(data: Path, output: Path, small: int, large: int, tested: int) -> None:
    torch.manual_seed(0)
    images, labels, classes = load_split(data, train=True)
    test_images, test_labels, _ = load_split(data, train=False)
    model = torchvision.models.vgg11_bn(num_classes=len(classes)).to(memory_format=torch.channels_last)
    train_at(model, images[:small], labels[:small], size=64, batch=64, rates=(0.02, 0.002))
    late = slice(small, small + large)
    train_at(model, images[late], labels[late], size=224, batch=32, rates=(0.005, 0.0005))
    torch.save({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, output)
    reached = accuracy_at(model, test_images[:tested], test_labels[:tested], 224)
    click.echo(f"test accuracy on {tested} images: {reached:.2%}")


if __name__ == "__main__":
    main()
