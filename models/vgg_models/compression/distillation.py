"""Distillation: a network learns to answer as another one does, from images without labels."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import astuple, dataclass
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Distillation", "DistillationState", "Fidelity", "Images", "distill"]

BATCH_SIZE = 16

# What Adam moves a weight by in one step, in units of the root mean square of its tensor, whose scale differs from
# network to network and from factor to factor. The least scale is for biases of zero. As Adafactor has it (Shazeer and
# Stern, 2018).
LEARNING_RATE, LEAST_SCALE = 5e-3, 1e-3

# Of softened probabilities (Hinton et al., 2015): what classes that were not best have in common counts too.
TEMPERATURE = 2.0

# Of a network that ends in Softmax: its logarithm has to be finite.
LEAST_PROBABILITY = 1e-12

# How much of the running average of the weights is kept at each step.
DECAY = 0.99

# Steps from one evaluation to the next, and evaluations without a better one after which training ends.
EVALUATION_STEPS, PATIENCE = 25, 20

# All that training goes on from: numbers, and tensors by name.
DistillationState: TypeAlias = dict[str, Any]


class Images(Protocol):
    """Inputs of a network: a tensor of them, or a ``Dataset`` that reads each when it is asked for."""

    def __len__(self) -> int:
        """How many there are."""

    def __getitem__(self, index: int, /) -> Tensor:
        """One of them, float32 (channels, height, width)."""


@dataclass(frozen=True)
class Fidelity:
    """How close a network comes to its teacher on images that it was not trained on.

    Attributes:
        loss: mean Kullback-Leibler divergence of the softened probabilities from the teacher's, in nats.
        agreement: share of the images with the teacher's best class, 0 to 1.

    Examples:
        >>> from vgg_models import Fidelity
        >>> Fidelity(loss=0.02, agreement=0.98).agreement
        0.98
    """

    loss: float
    agreement: float


@dataclass(frozen=True)
class Distillation:
    """What came of a distillation.

    Attributes:
        network: of those that were evaluated the one with the least loss that agrees as often as the student, which is
            one of them; on the CPU.
        before: the student's fidelity.
        after: the network's.
        steps: batches of training, those before an interruption included.
        seconds: time that it took, that before an interruption included.
        device: "cpu" or "cuda".

    Examples:
        >>> import torch
        >>> from vgg_models import distill, load_model
        >>> network = load_model("slim_vgg.pth").module
        >>> images = torch.randn(32, 1, 28, 28)  # stands for real images
        >>> distill(network, network, images, held_out=images, minutes=1, max_steps=1).after
        Fidelity(loss=0.0, agreement=1.0)
    """

    network: nn.Module
    before: Fidelity
    after: Fidelity
    steps: int
    seconds: float
    device: str


def distill(
    student: nn.Module,
    teacher: nn.Module,
    images: Images,
    *,
    held_out: Images,
    minutes: float,
    max_steps: int | None = None,
    learning_rate: float = LEARNING_RATE,
    seed: int = 0,
    state: DistillationState | None = None,
    on_state: Callable[[DistillationState], None] = lambda _: None,
    on_progress: Callable[[str, int, int], None] = lambda *_: None,
) -> Distillation:
    """Train ``student`` to answer as ``teacher`` does, on CUDA where there is a device.

    It ends when the time is over, after ``max_steps``, or when the loss on the images held out has not fallen for long.
    Dropout is off, and BatchNorm keeps its statistics. Training can be taken up again where it was interrupted.

    Args:
        student: in eval mode, on the CPU. It stays as it is.
        teacher: in eval mode, on the CPU, from the same inputs to the same outputs: logits, log-probabilities or
            probabilities, float32 (N, classes).
        images: what is trained on; no labels are needed.
        held_out: what networks are compared on.
        minutes: what it may take; a batch that is under way is finished.
        max_steps: batches of training at most; None sets no limit.
        learning_rate: what a weight moves by in a step, in units of the root mean square of its tensor.
        seed: for the choice of images. What comes out depends on it, and on when the time is over.
        state: the last one that ``on_state`` got; training goes on from there.
        on_state: called after each step. The next step changes these tensors: write them at once, or copy them.
        on_progress: called with what is being done, and how many seconds of how many it has taken.

    Examples:
        >>> import torch
        >>> from vgg_models import LowRankNetwork, distill, load_model
        >>> network = load_model("slim_vgg.pth").module
        >>> images = torch.randn(64, 1, 28, 28)  # stands for real images
        >>> low_rank = LowRankNetwork(network, images.split(8))
        >>> smaller = low_rank.build(low_rank.ranks(speedup=8))
        >>> tuned = distill(smaller, network, images[:48], held_out=images[48:], minutes=1, max_steps=5)
        >>> tuned.steps, tuned.after.loss <= tuned.before.loss
        (5, True)
    """
    started = time.monotonic() - (0 if state is None else state["seconds"])
    limit = minutes * 60

    def seconds() -> float:
        return time.monotonic() - started

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    training = _Training(student, teacher, images, held_out, learning_rate=learning_rate, seed=seed, device=device)
    if state is not None:
        training.load_state_dict(state)
    step_seconds = 0.0
    # Another step and the last evaluation have to fit in.
    while (
        training.improves
        and training.steps != max_steps
        and (begun := seconds()) + step_seconds + training.evaluation_seconds < limit
    ):
        training.step()
        step_seconds = seconds() - begun
        if training.steps % EVALUATION_STEPS == 0:
            training.evaluate()
        on_progress("tuning the low-rank network", int(seconds()), int(limit))
        on_state({"seconds": seconds(), **training.state_dict()})
    training.evaluate()
    network = copy.deepcopy(student)
    network.load_state_dict(training.best)
    return Distillation(network, training.before, training.after, training.steps, seconds(), device.type)


class _Training:
    """One distillation as it goes on.

    The network that is evaluated has the running average of the weights. It needs no schedule of the learning rate, so
    training may end at any time, and is the same up to there.
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        images: Images,
        held_out: Images,
        *,
        learning_rate: float,
        seed: int,
        device: torch.device,
    ) -> None:
        self._images, self._held_out, self._device = images, held_out, device
        self._teacher = teacher if device.type == "cpu" else copy.deepcopy(teacher).to(device)
        self._network = copy.deepcopy(student).to(device).requires_grad_(True)
        self._average = copy.deepcopy(student).to(device)
        groups = [
            {"params": [weight], "lr": learning_rate * max(LEAST_SCALE, weight.detach().square().mean().sqrt().item())}
            for weight in self._network.parameters()
        ]
        self._optimizer = torch.optim.Adam(groups)
        self._generator = torch.Generator().manual_seed(seed)
        self._answers = self._answer(self._teacher)
        totals = self._answers.sum(1)
        self._ends_in_softmax = bool((self._answers >= 0).all()) and torch.allclose(
            totals, totals.new_tensor(1), atol=1e-3
        )
        self.steps = self._evaluations_since_best = 0
        self.best = _copied(student.state_dict())
        self.before = self.after = self._compare()

    @property
    def improves(self) -> bool:
        """Whether there has been a better network of late."""
        return self._evaluations_since_best < PATIENCE

    @torch.enable_grad()
    def step(self) -> None:
        """Train on one batch."""
        batch = self._batch()
        with torch.no_grad():
            answers = self._teacher(batch)
        loss = self._loss(self._network(batch), answers)
        self._optimizer.zero_grad()
        torch.autograd.backward(loss)
        self._optimizer.step()
        self.steps += 1
        # The first steps weigh more: there is no past yet that is worth keeping.
        share = max(1 - DECAY, 9 / (9 + self.steps))
        for average, weight in zip(self._average.parameters(), self._network.parameters(), strict=True):
            average.data.lerp_(weight.data, share)

    def evaluate(self) -> None:
        """Compare the running average with the teacher; keep it where none was better."""
        fidelity = self._compare()
        self._evaluations_since_best += 1
        if fidelity.loss < self.after.loss and fidelity.agreement >= self.before.agreement:
            self.after, self._evaluations_since_best = fidelity, 0
            self.best = _copied(self._average.state_dict())

    def state_dict(self) -> DistillationState:
        return {
            "steps": self.steps,
            "evaluations_since_best": self._evaluations_since_best,
            "after": astuple(self.after),
            "best": self.best,
            "network": self._network.state_dict(),
            "average": self._average.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "generator": self._generator.get_state(),
        }

    def load_state_dict(self, state: DistillationState) -> None:
        self.steps, self._evaluations_since_best = state["steps"], state["evaluations_since_best"]
        self.after, self.best = Fidelity(*state["after"]), state["best"]
        self._network.load_state_dict(state["network"])
        self._average.load_state_dict(state["average"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._generator.set_state(state["generator"])

    def _batch(self) -> Tensor:
        """Images chosen at random, every second one of them blended with another.

        The teacher answers for the very same blends, so they need not show anything, and few images last longer.
        """
        numbers = torch.randperm(len(self._images), generator=self._generator)[:BATCH_SIZE]
        images = self._read(self._images, numbers.tolist())
        shares = torch.rand(len(images), 1, 1, 1, generator=self._generator)
        shares[::2] = 1
        return torch.lerp(images.roll(1, 0), images, shares.to(self._device))

    def _compare(self) -> Fidelity:
        """Return the fidelity of the running average on the images held out."""
        begun = time.monotonic()
        answers = self._answer(self._average)
        agreement = (answers.argmax(1) == self._answers.argmax(1)).float().mean()
        fidelity = Fidelity(self._loss(answers, self._answers).item(), agreement.item())
        self.evaluation_seconds = time.monotonic() - begun
        return fidelity

    @torch.no_grad()
    def _answer(self, network: nn.Module) -> Tensor:
        """Return the outputs of ``network`` for the images held out."""
        numbers = range(len(self._held_out))
        batches = [numbers[start : start + BATCH_SIZE] for start in numbers[::BATCH_SIZE]]
        return torch.cat([network(self._read(self._held_out, batch)) for batch in batches])

    def _read(self, images: Images, numbers: Iterable[int]) -> Tensor:
        return torch.stack([images[number] for number in numbers]).to(self._device)

    def _loss(self, outputs: Tensor, answers: Tensor) -> Tensor:
        if self._ends_in_softmax:
            outputs, answers = (values.clamp(min=LEAST_PROBABILITY).log() for values in (outputs, answers))
        softened, wanted = ((logits / TEMPERATURE).log_softmax(1) for logits in (outputs, answers))
        return functional.kl_div(softened, wanted, reduction="batchmean", log_target=True)


def _copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in tensors.items()}
