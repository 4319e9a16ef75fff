"""Common preprocessing presets, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from vgg_runtime._internal.validation import counted
from vgg_runtime.errors import PreprocessingError
from vgg_runtime.imaging.preprocessing import Preprocessing

__all__ = ["PRESETS", "preset"]

Size = tuple[int, int]

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CIFAR10_MEAN, CIFAR10_STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


def _imagenet(size: Size, channels: int) -> Preprocessing:
    """Resize so that the crop is 7/8 of the shorter side (256 for 224), then crop the centre."""
    return Preprocessing(resize=max(size) * 8 // 7, crop=size, mean=IMAGENET_MEAN, std=IMAGENET_STD)


def _half(size: Size, channels: int) -> Preprocessing:
    return replace(_plain(size, channels), mean=(0.5,) * channels, std=(0.5,) * channels)


def _cifar10(size: Size, channels: int) -> Preprocessing:
    return Preprocessing(resize=size, mean=CIFAR10_MEAN, std=CIFAR10_STD)


def _mnist(size: Size, channels: int) -> Preprocessing:
    return Preprocessing("L", resize=size, mean=(0.1307,), std=(0.3081,))


def _plain(size: Size, channels: int) -> Preprocessing:
    return Preprocessing("L" if channels == 1 else "RGB", resize=size)


# name: (the recipe, the size it is meant for; None for the network's own)
PRESETS: dict[str, tuple[Callable[[Size, int], Preprocessing], Size | None]] = {
    "imagenet": (_imagenet, (224, 224)),
    "half": (_half, (224, 224)),
    "cifar10": (_cifar10, (32, 32)),
    "mnist": (_mnist, (28, 28)),
    "plain": (_plain, None),
}


def preset(name: str, size: Size, channels: int) -> Preprocessing:
    """Return the preset ``name`` for a network that takes ``channels`` planes of ``size`` (height, width).

    Raises:
        PreprocessingError: the preset is unknown, or makes another number of channels.
    """
    if name not in PRESETS:
        raise PreprocessingError(
            f"unknown preprocessing preset {name!r}.", hint=f"Available: {', '.join(PRESETS)}, or a JSON file."
        )
    if channels not in (1, 3):
        raise PreprocessingError(
            f"the network takes {counted(channels, 'channel')}; images are preprocessed to 1 (L) or 3 (RGB, BGR)."
        )
    preprocessing = PRESETS[name][0](size, channels)
    if preprocessing.channel_count != channels:
        raise PreprocessingError(
            f"preset {name} makes {counted(preprocessing.channel_count, 'channel')} ({preprocessing.channels}); "
            f"the network takes {channels}.",
            hint="Use the preset plain or half, or describe it in a JSON file.",
        )
    return preprocessing
