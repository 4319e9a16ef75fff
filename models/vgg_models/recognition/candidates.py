"""One possible architecture of a checkpoint."""

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
        build: creates the module; its weights do not matter, so call it under ``torch.device("meta")``.
        input_size: (height, width), or None if the checkpoint does not decide it; then ``question`` asks for it.
        reasons: evidence in the checkpoint.
        assumptions: what the checkpoint does not show.
        question: what is open, and the flag that answers it.
        answer: what to do about the question, for the hint.
        needs_a_pool: whether it fits only with an adaptive pool, which leaves no key.
        chosen_by: the option that selects this one of several.
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
        """Whether another recogniser may have a better candidate."""
        return self.needs_a_pool or self.input_size is None

    def __post_init__(self) -> None:
        if (self.input_size is None) != bool(self.question):
            raise ValueError("a candidate has an input size, or else a question that asks for it")
