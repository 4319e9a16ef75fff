"""The variants that can be exported: one line each in :data:`VARIANTS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vgg_export.exporters.torch2onnx import torch2onnx
from vgg_export.exporters.torch2torchscript import load_torchscript, torch2torchscript
from vgg_export.tolerances import FLOAT_ROUNDING
from vgg_runtime.backends import Placement, open_backend
from vgg_runtime.manifest import Input, Output, Tolerance
from vgg_runtime.threads import available_threads

if TYPE_CHECKING:
    from torch import nn

    from vgg_export.reference import Run

__all__ = ["VARIANTS", "Job", "Recipe", "open_variant"]

Format = Literal["onnx", "torchscript"]

MODEL_FILE: dict[Format, str] = {"onnx": "model.onnx", "torchscript": "model.pt"}


@dataclass(frozen=True)
class Job:
    """What every recipe is made from.

    Attributes:
        module: the network in eval mode.
        takes: the input of every variant.
        gives: the output of every variant.
        opset: version of the ONNX operator set.
        single_file: whether the weights go inside the ``.onnx`` file.
        metadata: what travels inside each file.
        staging: directory of the bundle in the making; a recipe may read the variants above it in the table.
    """

    module: nn.Module
    takes: Input
    gives: Output
    opset: int
    single_file: bool
    metadata: Mapping[str, str]
    staging: Path


@dataclass(frozen=True)
class Recipe:
    """How one variant is made.

    Attributes:
        name: ``<format>-<precision>``.
        tolerance: what it is held to.
        write: writes the model to the given path, and returns the path of its external data where there is any.
    """

    format: Format
    precision: str
    tolerance: Tolerance
    write: Callable[[Job, Path], Path | None]

    @property
    def name(self) -> str:
        return f"{self.format}-{self.precision}"

    @property
    def file(self) -> str:
        """Path of the model inside the bundle."""
        return f"{self.name}/{MODEL_FILE[self.format]}"


def _onnx_fp32(job: Job, file: Path) -> Path | None:
    return torch2onnx(
        job.module,
        file,
        takes=job.takes,
        gives=job.gives,
        opset=job.opset,
        single_file=job.single_file,
        metadata=job.metadata,
    )


def _torchscript_fp32(job: Job, file: Path) -> None:
    torch2torchscript(job.module, file, takes=job.takes, metadata=job.metadata)


VARIANTS: tuple[Recipe, ...] = (
    Recipe("onnx", "fp32", FLOAT_ROUNDING, _onnx_fp32),
    Recipe("torchscript", "fp32", FLOAT_ROUNDING, _torchscript_fp32),
)


def open_variant(recipe: Recipe, directory: Path) -> Run:
    """Return the variant in the bundle at ``directory`` as a function, run on the CPU by its own engine."""
    file = directory / recipe.file
    if recipe.format == "torchscript":
        return load_torchscript(file)
    return open_backend("onnxruntime", file, Placement("cpu", available_threads())).run
