"""The outputs of eager PyTorch: the reference for every variant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from vgg_export.eager import Run, eager_function, first_line, run_batch
from vgg_export.progress import OnStep, ignore_steps
from vgg_export.verification.samples import Samples
from vgg_runtime.bundle.manifest import InputSpec, ParityFigures
from vgg_runtime.errors import ArchitectureError, ParityError
from vgg_runtime.metrics import compare

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

    from vgg_runtime.bundle.manifest import InputArray

__all__ = ["Reference", "run_eager", "torch_threads"]


# 1 is what an edge device runs; 2 and 5 reveal a batch dimension that was fixed by mistake.
BATCH_SIZES = (1, 2, 5)

# Samples that run alone, and how many of the others run at once, for which a linear layer reads its weights once.
ALONE, TOGETHER = 64, 8

_BATCH_HINT = "Its forward must not turn sizes of tensors into numbers (int(x.shape[0])); or give `batch=N`."


@dataclass(frozen=True)
class Reference:
    """Batches of samples, and the outputs of eager PyTorch for each.

    Attributes:
        batches: indices of the samples in each batch.
        samples: the images.
        outputs: float32 (batch, classes) for each batch.
    """

    batches: tuple[tuple[int, ...], ...]
    samples: Samples
    outputs: tuple[NDArray[np.float32], ...]

    @property
    def golden(self) -> tuple[InputArray, NDArray[np.float32]]:
        """The first batch size's inputs and outputs: one batch if that is fixed, else the first four images."""
        count = max(4, len(self.batches[0]))
        outputs = np.concatenate(self.outputs)
        order = [index for batch in self.batches for index in batch]
        return self.samples.inputs(order[:count]), outputs[:count]

    @property
    def per_sample(self) -> NDArray[np.float32]:
        """One row of outputs per sample: float32 (samples, classes)."""
        return self.rows_per_sample(self.outputs)

    def rows_per_sample(self, outputs: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return the first row of each sample in ``outputs``, which are in the order of ``batches``."""
        order = [index for batch in self.batches for index in batch]
        first = [order.index(sample) for sample in range(len(self.samples.names)) if sample in order]
        rows: NDArray[np.float32] = np.concatenate(outputs)[first]
        return rows

    def run(self, variant: str, run: Run, on_step: OnStep = ignore_steps) -> list[NDArray[np.float32]]:
        """Return the outputs of ``run``, the variant of that name, for the same batches.

        Raises:
            ParityError: it fails on a batch, or gives outputs of another shape.
        """
        outputs = []
        for batch, output in zip(self.batches, self.outputs, strict=True):
            outputs.append(_rerun(variant, run, self.samples.inputs(batch), output.shape))
            on_step(f"verifying {variant}", len(outputs), len(self.batches))
        return outputs

    def compare(self, actual: Sequence[NDArray[np.float32]], *, tie: float = 0.0) -> ParityFigures:
        """Compare the outputs of a variant, from :meth:`run`, with those of eager PyTorch."""
        names = [f"{self.samples.names[i]} (batch {len(batch)})" for batch in self.batches for i in batch]
        sizes = sorted({len(batch) for batch in self.batches})
        return compare(np.concatenate(self.outputs), np.concatenate(actual), names, batch_sizes=sizes, tie=tie)


def run_eager(module: nn.Module, samples: Samples, input_spec: InputSpec, on_step: OnStep = ignore_steps) -> Reference:
    """Run ``module`` on the samples: the first 64 one by one, the others by eights, and some again in other batches.

    Raises:
        ArchitectureError: the network fails on them, or does not give one finite score per class.
    """
    batches = _batches(len(samples.names), input_spec.batch_size)
    run = eager_function(module)
    outputs = []
    for batch in batches:
        outputs.append(run_batch(run, samples.planes(batch)))
        on_step("running eager PyTorch", len(outputs), len(batches))
    if not all(np.isfinite(output).all() for output in outputs):
        raise ArchitectureError("eager PyTorch itself gives NaN or infinity on the sample images.")
    return Reference(batches, samples, tuple(outputs))


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let PyTorch use ``count`` threads until the block ends.

    Sums in another order differ in their last bits, and PyTorch's setting, one per process, may have been changed
    before.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _rerun(variant: str, run: Run, batch: InputArray, shape: tuple[int, ...]) -> NDArray[np.float32]:
    try:
        output = run(batch)
    except Exception as error:  # its engine may raise anything
        raise ParityError(
            f"{variant} fails on a batch of {len(batch)}, which eager PyTorch takes: {first_line(error)}.",
            hint=_BATCH_HINT,
        ) from error
    if output.shape != shape:
        raise ParityError(
            f"{variant} gives {list(output.shape)} for a batch of {len(batch)}, eager PyTorch gives {list(shape)}.",
            hint=_BATCH_HINT,
        )
    return output


def _batches(count: int, fixed: int | None) -> tuple[tuple[int, ...], ...]:
    if fixed is not None:
        return tuple(tuple(i % count for i in range(start, start + fixed)) for start in range(0, count, fixed))
    starts = [*range(min(count, ALONE)), *range(ALONE, count, TOGETHER), count]
    every = tuple(tuple(range(start, end)) for start, end in pairwise(starts))
    return every + tuple(tuple(i % count for i in range(size)) for size in BATCH_SIZES if size > 1)
