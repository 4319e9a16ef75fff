"""What a checkpoint says of itself beside the weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from vgg_runtime.imaging.preprocessing import Interpolation

__all__ = ["CheckpointMetadata", "Normalization", "Statement", "sole_statement"]

T = TypeVar("T")


@dataclass(frozen=True)
class Statement(Generic[T]):
    """One fact.

    Attributes:
        source: where it stands, such as "'class_names' in the checkpoint".
    """

    value: T
    source: str


@dataclass(frozen=True)
class Normalization:
    """``(pixels / divide_by - mean) / std``.

    Attributes:
        mean, std: one number per channel, in the order RGB where there are three.
        divide_by: 255 where mean and std are of pixels from 0 to 1, 1 where they are of pixels from 0 to 255.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    divide_by: float


@dataclass(frozen=True)
class CheckpointMetadata:
    """The facts that a checkpoint states, None where it states none. They may be wrong: nothing proves them.

    Attributes:
        labels: every list of names of classes, as the number of classes shows only when the network is built.
        architectures: every name, in lower case; some are names of other things.
        input_size: (height, width) in pixels.
        crop_share: side of the centre crop over the shorter side of the image that it is cut from (timm's crop_pct).
        interpolation: of resizing.
        remarks: what stands where a fact is expected and was not taken, and why.
    """

    labels: tuple[Statement[tuple[str, ...]], ...] = ()
    architectures: tuple[Statement[str], ...] = ()
    normalization: Statement[Normalization] | None = None
    input_size: Statement[tuple[int, int]] | None = None
    crop_share: Statement[float] | None = None
    interpolation: Statement[Interpolation] | None = None
    remarks: tuple[str, ...] = ()


def sole_statement(fact: str, statements: Sequence[Statement[T]]) -> tuple[Statement[T] | None, tuple[str, ...]]:
    """Return the first statement where all agree, None where they differ, and the remark that they do."""
    if not statements:
        return None, ()
    first, *others = statements
    if differing := [statement.source for statement in others if statement.value != first.value]:
        return None, (f"{fact}: {' and '.join([first.source, *differing])} differ; none of them is taken",)
    return first, ()
