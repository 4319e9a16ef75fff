"""One way to understand a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

__all__ = ["NOTHING_FOLLOWS", "ArchitectureCandidate"]

# An assumption of every candidate that ends in a Linear layer.
NOTHING_FOLLOWS = (
    "nothing follows the last Linear (a ReLU there would leave no key; then give `model='MODULE:CALLABLE'`)"
)


@dataclass(frozen=True)
class ArchitectureCandidate:
    """An architecture that fits the keys and shapes of a state dict.

    Attributes:
        name: as in Architecture.
        build: makes the module; its weights are of no account, so call it under ``torch.device("meta")``.
        input_size: (height, width), or None where the checkpoint does not decide it; then ``question`` asks for it.
        reasons: what in the checkpoint speaks for it.
        assumptions: what the checkpoint cannot prove.
        question: what is open, and which flag answers it.
        answer: what to do about the question, for the hint.
        needs_a_pool: whether it fits only with an adaptive pool of which the keys say nothing.
        chosen_by: what to give in order to get this one where there are others.
    """

    name: str
    description: str
    build: Callable[[], nn.Module]
    input_channels: int
    input_size: tuple[int, int] | None
    reasons: tuple[str, ...]
    assumptions: tuple[str, ...]
    question: str = ""
    answer: str = "Give `input_size`."
    chosen_by: str = "`model='MODULE:CALLABLE'`"
    needs_a_pool: bool = False

    @property
    def tentative(self) -> bool:
        """Whether another recogniser may know better."""
        return self.needs_a_pool or self.input_size is None

    def __post_init__(self) -> None:
        if (self.input_size is None) != bool(self.question):
            raise ValueError("a candidate has an input size, or else a question that asks for it")
