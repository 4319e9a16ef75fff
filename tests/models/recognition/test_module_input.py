from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from vgg_models._torchvision import import_torchvision
from vgg_models.architectures.head import make_head, paper_head
from vgg_models.architectures.vgg import VGG, make_features
from vgg_models.recognition.module_input import find_module_input
from vgg_runtime.errors import ArchitectureError


def _find(module: nn.Module, **stated: object) -> tuple[int, tuple[int, int]]:
    arguments = {"input_channels": None, "input_size": None, "fallback_input_size": None} | stated
    return find_module_input(module.eval(), **arguments)[:2]  # type: ignore[arg-type]


def test_the_only_common_size_that_runs_is_taken() -> None:
    assert _find(nn.Sequential(nn.Conv2d(3, 2, 5), nn.Flatten(), nn.Linear(2 * 28 * 28, 4))) == (3, (32, 32))


def test_convolution_without_a_weight_is_refused() -> None:
    first = nn.Conv2d(1, 2, 3)
    del first.weight
    with pytest.raises(ArchitectureError, match="has no attribute 'weight'"):
        _find(nn.Sequential(first, nn.Flatten(), nn.Linear(2 * 26 * 26, 4)))


@pytest.mark.parametrize(("numbers", "inputs"), [(784, (1, (28, 28))), (3 * 20 * 20, (3, (20, 20)))])
def test_flattened_images_of_any_size(numbers: int, inputs: tuple[int, tuple[int, int]]) -> None:
    assert _find(nn.Sequential(nn.Flatten(), nn.Linear(numbers, 4))) == inputs


def test_layers_and_weights_used_twice_keep_their_values() -> None:
    twice, tied = nn.Linear(16, 16), nn.Linear(16, 16)
    tied.weight = twice.weight
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 16), twice, twice, tied, nn.Linear(16, 3))
    assert _find(model) == (1, (28, 28))
    assert {parameter.device.type for parameter in model.parameters()} == {"cpu"}


def test_size_that_the_adaptive_pool_keeps_is_preferred() -> None:
    model = VGG(make_features((4, "M") * 5), make_head(paper_head(4 * 49, 3, hidden=5)), pooled_size=(7, 7))
    assert _find(model) == (3, (224, 224))
    assert _find(model, fallback_input_size=(96, 96)) == (3, (96, 96))


def test_global_pooling_leaves_a_question() -> None:
    with torch.device("meta"):
        model = import_torchvision().models.resnet18(weights=None)
    with pytest.raises(ArchitectureError, match="3x224x224, 3x256x256") as caught:
        _find(model)
    assert "`input_size=N`" in caught.value.hint
    assert _find(model, fallback_input_size=(224, 224)) == (3, (224, 224))


def test_a_pool_to_1x1_says_nothing_about_the_size() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 28), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3))
    with pytest.raises(ArchitectureError, match="1x28x28, 1x32x32"):
        _find(model)


def test_a_likely_size_that_does_not_run_is_not_taken() -> None:
    model = nn.Sequential(nn.Conv2d(3, 2, 5), nn.Flatten(), nn.Linear(2 * 28 * 28, 4))
    assert _find(model, fallback_input_size=(224, 224)) == (3, (32, 32))


class _Wrapped(nn.Module):
    """A classifier for 3x32x32, and what its owner's forward does around it."""

    def __init__(self, forward: Callable[[Callable[[Tensor], Tensor], Tensor], object]) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 2, 5), nn.Flatten(), nn.Linear(2 * 28 * 28, 4))
        self.around = forward

    def forward(self, images: Tensor) -> object:
        return self.around(self.body, images)


def _absent_device(body: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    raise AssertionError("Torch not compiled with CUDA enabled")  # as .cuda() does on a CPU build


@pytest.mark.parametrize(
    ("forward", "said"),
    [
        (lambda body, images: (body(images), images), r"2 outputs: \(1, 4\) and \(1, 3, 32, 32\), for .* 3x32x32"),
        (lambda body, images: {"logits": body(images)}, r"1 output: logits \(1, 4\), for one image of 3x32x32"),
        (lambda body, images: body(images).argmax(1), r"gives \(1,\), one number, for one image of 3x32x32"),
        (lambda body, images: body(images) * (2 if body(images).sum() > 0 else 1), r"needs their values \(.*meta"),
        (_absent_device, r"fails on images of every size .*: AssertionError: Torch not compiled with CUDA"),
    ],
    ids=["tuple", "dict", "classes", "branch", "device"],
)
def test_broken_forward_is_told_where_no_size_helps(
    forward: Callable[[Callable[[Tensor], Tensor], Tensor], object], said: str
) -> None:
    with pytest.raises(ArchitectureError, match=said):
        _find(_Wrapped(forward))


def test_size_is_asked_for_where_every_size_fails() -> None:
    with pytest.raises(ArchitectureError, match="it runs on none of the common sizes") as caught:
        _find(nn.Sequential(nn.Conv2d(3, 2, 5), nn.Flatten(), nn.Linear(2 * 13 * 13, 4)))
    assert "`input_size=N`" in caught.value.hint


def test_what_is_stated_is_taken_as_it_is() -> None:
    assert _find(nn.Sequential(nn.Conv2d(3, 2, 5)), input_channels=5, input_size=(9, 11)) == (5, (9, 11))
    assert _find(nn.Sequential(nn.Flatten(), nn.Linear(600, 4)), input_size=(20, 30)) == (1, (20, 30))
