"""Preprocessing as a checkpoint states it: normalization, and timm's crop and interpolation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import floor
from typing import Any

from vgg_models.metadata import CheckpointMetadata, Normalization, Statement
from vgg_runtime.imaging.preprocessing import Interpolation, Preprocessing

__all__ = ["apply_statements"]

Size = tuple[int, int]
Change = Callable[[Preprocessing, Any, Size], Preprocessing]


def apply_statements(
    usual: Preprocessing, metadata: CheckpointMetadata, size: Size
) -> tuple[Preprocessing, tuple[str, ...], tuple[str, ...]]:
    """Return (preprocessing, remarks, open): ``usual``, changed as the checkpoint states.

    The remarks say what was taken, from where, and what was not. Open are the parts that the checkpoint does not state,
    and that are unchanged, such as "resize and crop".

    Args:
        size: (height, width) of the images that the network takes.
    """
    changes: tuple[tuple[str, Statement[Any] | None, Change], ...] = (
        ("resize and crop", metadata.crop_share, _crop),
        ("interpolation", metadata.interpolation, _interpolate),
        ("normalization", metadata.normalization, _normalize),
    )
    result, remarks, unsaid = usual, [], []
    for fact, statement, change in changes:
        if statement is None:
            unsaid.append(fact)
            continue
        try:
            result = change(result, statement.value, size)
            remarks.append(f"{fact}: taken from {statement.source}")
        except ValueError as error:
            unsaid.append(fact)
            remarks.append(f"{fact}: {statement.source} is not taken: {error}")
    return result, tuple(remarks), tuple(unsaid)


def _crop(before: Preprocessing, share: float, size: Size) -> Preprocessing:
    """The shorter side becomes floor(side / crop_pct), as in timm's ``transforms_imagenet_eval``."""
    if size[0] != size[1]:
        raise ValueError(f"it is for square images, the network takes {size[0]}x{size[1]}")
    return replace(before, resize=floor(size[0] / share), crop=size)


def _interpolate(before: Preprocessing, interpolation: Interpolation, size: Size) -> Preprocessing:
    return replace(before, interpolation=interpolation)


def _normalize(before: Preprocessing, normalization: Normalization, size: Size) -> Preprocessing:
    return replace(before, mean=normalization.mean, std=normalization.std, divide_by=normalization.divide_by)
