"""What a checkpoint says of itself decides what its weights leave open, and no more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from vgg_models import LoadedModel, load_model
from vgg_models._torchvision import import_torchvision
from vgg_models.architectures.vgg import VGG, make_features
from vgg_runtime.errors import ArchitectureError, UsageError

Save = Callable[[object], Path]


@pytest.fixture
def pooled() -> VGG:
    """A VGG that takes images of any size: the weights do not tell which."""
    torch.manual_seed(0)
    return VGG(make_features((4, "M", 8, "M")), nn.Linear(8, 3), pooled_size=(1, 1)).eval()


@pytest.fixture
def sized() -> VGG:
    """A VGG for images of 28 x 28, as the weights tell."""
    return VGG(make_features((4, "M", 8, "M"), input_channels=1), nn.Linear(8 * 49, 3)).eval()


def _says(loaded: LoadedModel, remark: str) -> bool:
    assert set(loaded.checkpoint.remarks) <= set(loaded.checkpoint.notes)
    return any(remark in each for each in loaded.checkpoint.remarks)


def test_a_size_that_the_weights_leave_open_is_taken(pooled: VGG, saved: Save) -> None:
    loaded = load_model(saved({"state_dict": pooled.state_dict(), "hyper_parameters": {"img_size": 48}}))
    assert loaded.input_size == (48, 48)
    assert _says(loaded, "input size: 48x48, taken from 'img_size' in 'hyper_parameters' in the checkpoint")


def test_a_stated_size_is_overruled_by_the_option(pooled: VGG, saved: Save) -> None:
    path = saved({"state_dict": pooled.state_dict(), "img_size": 48})
    loaded = load_model(path, input_size=(96, 64))
    assert loaded.input_size == (96, 64)
    assert loaded.checkpoint.remarks == ()


def test_a_stated_size_goes_before_a_likely_one(pooled: VGG, saved: Save) -> None:
    path = saved({"state_dict": pooled.state_dict(), "img_size": 48})
    assert load_model(path, fallback_input_size=(32, 32)).input_size == (48, 48)


def test_a_size_that_the_network_does_not_take_is_told(saved: Save) -> None:
    owner = nn.Sequential(nn.Flatten(), nn.Linear(784, 3))
    loaded = load_model(saved({"model": owner, "input_size": 784}))  # numbers, not pixels
    assert loaded.input_size == (28, 28)
    assert _says(loaded, "input size: 'input_size' in the checkpoint is 784x784, which the network doesn't take")


def test_what_is_no_fact_is_told_and_the_rest_goes_on(sized: VGG, saved: Save) -> None:
    loaded = load_model(saved({"state_dict": sized.state_dict(), "input_size": 784000}))
    assert loaded.input_size == (28, 28)
    assert _says(loaded, "784000 is not a size")


@pytest.mark.parametrize(("name", "model"), [("resnet18", "torchvision:resnet18"), ("timm/ResNet18.tv", None)])
def test_a_stated_architecture_decides_what_is_not_recognised(saved: Save, name: str, model: str | None) -> None:
    torch.manual_seed(0)
    owner = import_torchvision().models.resnet18(weights=None, num_classes=7).eval()
    loaded = load_model(saved({"state_dict": owner.state_dict(), "arch": name, "img_size": 64}))
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(loaded.module(images), owner(images))
    assert loaded.architecture.name == "torchvision:resnet18"
    assert model in (None, loaded.architecture.name)


def test_a_stated_architecture_that_does_not_fit_is_told(saved: Save) -> None:
    weights = {"left.weight": torch.ones(2, 3, 3, 3), "right.weight": torch.ones(2, 3, 3, 3), "alpha": torch.ones(1)}
    with pytest.raises(ArchitectureError, match="'arch' in the checkpoint is vgg16, which the weights don't fit"):
        load_model(saved({"state_dict": weights, "arch": "vgg16"}))


def test_a_certain_recognition_goes_before_the_stated_name(sized: VGG, saved: Save) -> None:
    loaded = load_model(saved({"state_dict": sized.state_dict(), "arch": "vgg16"}))
    assert (loaded.architecture.name, loaded.architecture.origin) == ("vgg", "recognised")
    assert _says(loaded, "'arch' in the checkpoint is vgg16, but its weights are those of vgg")


@pytest.mark.parametrize("facts", [{"arch": "flowers_v2"}, {"arch": "vgg", "model_name": "best of May"}])
def test_a_name_of_something_else_says_nothing(sized: VGG, saved: Save, facts: dict[str, str]) -> None:
    assert load_model(saved({"state_dict": sized.state_dict(), **facts})).checkpoint.remarks == ()


def test_raw_or_averaged_weights_are_taken_as_told(sized: VGG, saved: Save) -> None:
    average = {key: value + 1 for key, value in sized.state_dict().items()}
    path = saved({"model": sized.state_dict(), "model_ema": average})
    raw, averaged = load_model(path), load_model(path, weights="ema")
    assert torch.equal(raw.module.state_dict()["classifier.bias"], sized.classifier.bias)
    assert torch.equal(averaged.module.state_dict()["classifier.bias"], sized.classifier.bias + 1)
    assert (raw.checkpoint.averaged, averaged.checkpoint.averaged) == (False, True)
    assert _says(raw, "`weights='ema'` takes that")
    assert _says(averaged, "not the raw ones under model")


@pytest.mark.parametrize(("source", "weights"), [("random:vgg11", "ema"), ("net.pth", "swa")])
def test_weights_that_nothing_has_are_refused(source: str, weights: str) -> None:
    with pytest.raises(UsageError, match=r"no running average|must be 'raw' or 'ema', got 'swa'"):
        load_model(source, weights=weights)  # type: ignore[arg-type]
