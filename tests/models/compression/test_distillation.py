"""A low-rank network that learns to answer as the trained one."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vgg_models import Distillation, LowRankNetwork, distill
from vgg_models.compression import distillation

Agreement = Callable[[nn.Module, nn.Module, Tensor], float]


@pytest.fixture(scope="module")
def teacher(network: nn.Module) -> nn.Module:
    return network


@pytest.fixture(scope="module")
def images(train_images: Tensor) -> Tensor:
    """300 images, in an order that mixes the classes."""
    return train_images[torch.randperm(300, generator=torch.Generator().manual_seed(0))]


@pytest.fixture(scope="module")
def student(teacher: nn.Module, images: Tensor) -> nn.Module:
    """A ninth of the operations, which cost every fourth answer."""
    low_rank = LowRankNetwork(teacher, images[:225].split(45))
    return low_rank.build(low_rank.ranks(speedup=9))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluations are close together, and training is given up early."""
    monkeypatch.setattr(distillation, "EVALUATION_STEPS", 2)
    monkeypatch.setattr(distillation, "PATIENCE", 3)


def distilled(student: nn.Module, teacher: nn.Module, images: Tensor, **options: Any) -> Distillation:
    defaults = {"held_out": images[225:], "minutes": 10, "max_steps": 6, "learning_rate": 2e-3}
    return distill(student, teacher, images[:225], **defaults | options)


def weights_of(module: nn.Module) -> list[Tensor]:
    return [tensor.clone() for tensor in module.state_dict().values()]


def same(first: list[Tensor], second: list[Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def test_answers_come_closer_on_images_never_seen(
    student: nn.Module, teacher: nn.Module, images: Tensor, test_images: Tensor, agreement: Agreement
) -> None:
    result = distill(student, teacher, images[:225], held_out=images[225:], minutes=10, max_steps=50)
    assert result.steps == 50
    assert result.after.loss < result.before.loss / 1.5
    assert result.after.agreement == pytest.approx(agreement(result.network, teacher, images[225:]))
    assert agreement(result.network, teacher, test_images) > agreement(student, teacher, test_images) + 0.02


def test_student_and_teacher_stay_as_they_were(student: nn.Module, teacher: nn.Module, images: Tensor) -> None:
    before = weights_of(student), weights_of(teacher)
    network = distilled(student, teacher, images).network
    assert same(weights_of(student), before[0])
    assert same(weights_of(teacher), before[1])
    assert not same(weights_of(network), before[0])
    assert not any(weight.grad is not None for module in (student, teacher) for weight in module.parameters())
    # Gradients are wanted of the same weights as before, so whatever takes the student takes this network.
    assert [w.requires_grad for w in network.parameters()] == [w.requires_grad for w in student.parameters()]


def test_statistics_of_batchnorm_stay(student: nn.Module, teacher: nn.Module, images: Tensor) -> None:
    network = distilled(student, teacher, images).network
    assert same(list(network.buffers()), list(student.buffers()))
    assert list(network.buffers())


@pytest.mark.usefixtures("quick")
def test_training_that_does_harm_gives_the_student(student: nn.Module, teacher: nn.Module, images: Tensor) -> None:
    result = distilled(student, teacher, images, learning_rate=100.0, max_steps=None)
    assert result.steps == 2 * 3
    assert result.after == result.before
    assert same(weights_of(result.network), weights_of(student))


@pytest.mark.usefixtures("quick")
def test_lower_loss_with_fewer_answers_is_not_taken(teacher: nn.Module, images: Tensor) -> None:
    """The student's scores are too small by far, so its best classes are right and its loss is not."""
    student = nn.Sequential(teacher, Scale(0.05))
    result = distilled(student, teacher, images, max_steps=40)
    assert result.before.agreement == 1
    assert result.after.agreement == 1


class Scale(nn.Module):
    """Multiplies by a number that is trained."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, scores: Tensor) -> Tensor:
        return scores * self.factor


@pytest.mark.usefixtures("quick")
def test_interrupted_training_goes_on_where_it_was(student: nn.Module, teacher: nn.Module, images: Tensor) -> None:
    whole = distilled(student, teacher, images)
    file = io.BytesIO()

    def interrupt(state: dict[str, Any]) -> None:
        if state["steps"] == 3:
            torch.save(state, file)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        distilled(student, teacher, images, on_state=interrupt)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    resumed = distilled(student, teacher, images, state=state)
    assert resumed.steps == whole.steps == 6
    assert (resumed.before, resumed.after) == (whole.before, whole.after)
    assert same(weights_of(resumed.network), weights_of(whole.network))


def test_time_before_an_interruption_counts(student: nn.Module, teacher: nn.Module, images: Tensor) -> None:
    states: list[dict[str, Any]] = []
    distilled(student, teacher, images, max_steps=1, on_state=states.append)
    spent = states[0] | {"seconds": 600.0}
    result = distilled(student, teacher, images, state=spent, max_steps=None)
    assert result.steps == 1
    assert result.seconds > 600


def test_no_time_gives_the_student(student: nn.Module, teacher: nn.Module, images: Tensor) -> None:
    result = distilled(student, teacher, images, minutes=1e-9)
    assert result.steps == 0
    assert result.after == result.before
    assert same(weights_of(result.network), weights_of(student))


def test_the_seed_decides(student: nn.Module, teacher: nn.Module, images: Tensor) -> None:
    first, second, other = (
        weights_of(distilled(student, teacher, images, max_steps=2, seed=seed).network) for seed in (3, 3, 4)
    )
    assert same(first, second)
    assert not same(first, other)


def test_softmax_at_the_end_changes_nothing(student: nn.Module, teacher: nn.Module, images: Tensor) -> None:
    logits = distilled(student, teacher, images, max_steps=1)
    for ending in (nn.Softmax(1), nn.LogSoftmax(1)):
        ended = distilled(nn.Sequential(student, ending), nn.Sequential(teacher, ending), images, max_steps=1)
        assert ended.before.loss == pytest.approx(logits.before.loss, rel=1e-3)
        assert ended.after.loss == pytest.approx(logits.after.loss, rel=1e-2)
