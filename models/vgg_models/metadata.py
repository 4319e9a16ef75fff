"""What a checkpoint states about itself besides the weights."""

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
        source: its place, such as "'class_names' in the checkpoint".
    """

    value: T
    source: str


@dataclass(frozen=True)
class Normalization:
    """``(pixels / divide_by - mean) / std``.

    Attributes:
        mean, std: one number per channel, in the order RGB if there are three.
        divide_by: 255 if mean and std are of pixels from 0 to 1, 1 if they are of pixels from 0 to 255.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    divide_by: float


@dataclass(frozen=True)
class CheckpointMetadata:
    """The facts that a checkpoint states, None if it states none. They may be wrong.

    Attributes:
        labels: every list of class names, because the number of classes is known only once the network is built.
        architectures: every possible name, in lower case; some may be names of other things.
        input_size: (height, width) in pixels.
        crop_share: side of the centre crop divided by the shorter side of the image (timm's crop_pct).
        interpolation: the filter for resizing.
        remarks: values in the place of a fact that were not taken for one, and why.
    """

    labels: tuple[Statement[tuple[str, ...]], ...] = ()
    architectures: tuple[Statement[str], ...] = ()
    normalization: Statement[Normalization] | None = None
    input_size: Statement[tuple[int, int]] | None = None
    crop_share: Statement[float] | None = None
    interpolation: Statement[Interpolation] | None = None
    remarks: tuple[str, ...] = ()


def sole_statement(fact: str, statements: Sequence[Statement[T]]) -> tuple[Statement[T] | None, tuple[str, ...]]:
    """Return the first statement if all agree, None if they differ, and the remark that they do."""
    if not statements:
        return None, ()
    first, *others = statements
    if differing := [statement.source for statement in others if statement.value != first.value]:
        return None, (f"{fact}: {' and '.join([first.source, *differing])} differ; none of them is taken",)
    return first, ()
