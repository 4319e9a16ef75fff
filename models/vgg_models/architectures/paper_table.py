"""The VGG paper's table of configurations, and the names by which this project calls them.

Simonyan and Zisserman, Very Deep Convolutional Networks for Large-Scale Image Recognition (2014), table 1.
"""

from __future__ import annotations

from typing import Final, Literal

__all__ = ["CONFIGURATIONS", "VGG_NAMES", "Configuration", "Entry", "configuration_of", "describe", "name_of"]

# An int is a 3x3 convolution of so many channels, (channels, 1) a 1x1 convolution; each is followed by a ReLU.
# "M" is a 2x2 max pool; "LRN" a local response normalization with the AlexNet paper's k = 2, "LRN-k1" with the k = 1
# that is PyTorch's default.
Entry = int | tuple[int, Literal[1]] | Literal["M", "LRN", "LRN-k1"]
Configuration = tuple[Entry, ...]

CONFIGURATIONS: Final[dict[str, Configuration]] = {
    "vgg11": (64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"),
    "vgg11-lrn": (64, "LRN", "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"),
    "vgg11-lrn-k1": (64, "LRN-k1", "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"),
    "vgg13": (64, 64, "M", 128, 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"),
    "vgg16-1x1": (
        *(64, 64, "M", 128, 128, "M"),
        *(256, 256, (256, 1), "M", 512, 512, (512, 1), "M", 512, 512, (512, 1), "M"),
    ),
    "vgg16": (64, 64, "M", 128, 128, "M", *(256,) * 3, "M", *(512,) * 3, "M", *(512,) * 3, "M"),
    "vgg19": (64, 64, "M", 128, 128, "M", *(256,) * 4, "M", *(512,) * 4, "M", *(512,) * 4, "M"),
}

_BATCH_NORM = "_bn"
VGG_NAMES: Final[tuple[str, ...]] = tuple(f"{name}{suffix}" for name in CONFIGURATIONS for suffix in ("", _BATCH_NORM))

# The columns of the paper's table, for messages.
_COLUMNS = {
    "vgg11": "A",
    "vgg11-lrn": "A-LRN",
    "vgg11-lrn-k1": "A-LRN with PyTorch's k = 1",
    "vgg13": "B",
    "vgg16-1x1": "C",
    "vgg16": "D",
    "vgg19": "E",
}


def configuration_of(name: str) -> tuple[Configuration, bool]:
    """Return the configuration of one of VGG_NAMES, and whether it has BatchNorm."""
    return CONFIGURATIONS[name.removesuffix(_BATCH_NORM)], name.endswith(_BATCH_NORM)


def name_of(configuration: Configuration, *, batch_norm: bool) -> str | None:
    """Return the name of a configuration in the table, or None."""
    for name, known in CONFIGURATIONS.items():
        if known == configuration:
            return name + _BATCH_NORM * batch_norm
    return None


def describe(name: str) -> str:
    """One line for people, such as ``VGG-16 (the paper's configuration D) with BatchNorm``."""
    base = name.removesuffix(_BATCH_NORM)
    depth = base.removeprefix("vgg").partition("-")[0]
    return f"VGG-{depth} (the paper's configuration {_COLUMNS[base]})" + " with BatchNorm" * (base != name)
