"""What may be asked of CUDA beyond running a model as the CPU would."""

from __future__ import annotations

from dataclasses import dataclass

from vgg_runtime.errors import UsageError

__all__ = ["CudaOptions"]


@dataclass(frozen=True)
class CudaOptions:
    """Choices for a model on CUDA; none of them is taken unasked.

    Attributes:
        tf32: round the factors of products to TF32's 10 bits of mantissa: faster, and outside of the promised parity.
        graph_batch_sizes: batch sizes to capture as CUDA graphs, which are launched as a whole instead of kernel by
            kernel. Each keeps the weights in the device's memory once more.
        memory_limit: most bytes that a session may take of the device's memory for weights and activations.

    Raises:
        UsageError: a batch size or the limit is below 1.
    """

    tf32: bool = False
    graph_batch_sizes: tuple[int, ...] = ()
    memory_limit: int | None = None

    def __post_init__(self) -> None:
        if any(size < 1 for size in self.graph_batch_sizes):
            raise UsageError(f"graph_batch_sizes is {list(self.graph_batch_sizes)}; each is at least 1.")
        if self.memory_limit is not None and self.memory_limit < 1:
            raise UsageError(f"memory_limit is {self.memory_limit}; it is a number of bytes, at least 1.")
