from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lesson_networks import settled
from torch import Tensor, nn

from vgg_models import LoadedModel, load_model
from vgg_models._torchvision import import_torchvision
from vgg_models.architectures.torchvision import empty_torchvision, last_layer, torchvision_names
from vgg_models.architectures.torchvision_families import FAMILIES, count_trunk_keys, family_of
from vgg_models.recognition.recognise import recognise
from vgg_runtime.errors import ArchitectureError

Save = Callable[[object], Path]
NAMES = [name for family in FAMILIES for name in family.networks]


def _with_classes(module: nn.Module, classes: int) -> dict[str, Tensor]:
    state, path = module.state_dict(), last_layer(module)
    for key in (f"{path}.weight", f"{path}.bias"):
        if key in state:
            state[key] = torch.empty(classes, *state[key].shape[1:], device="meta")
    return state


def _resnet18(num_classes: int = 3) -> nn.Module:
    return import_torchvision().models.resnet18(weights=None, num_classes=num_classes)  # type: ignore[no-any-return]


def _assert_same(loaded: LoadedModel, owner: nn.Module) -> None:
    images = torch.rand(2, loaded.input_channels, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        torch.testing.assert_close(loaded.module(images), owner(images), rtol=0, atol=0)


def test_every_classifier_of_torchvision_is_in_the_table() -> None:
    assert sorted(NAMES) == sorted(name for name in torchvision_names() if not name.startswith("vgg"))


@pytest.mark.parametrize("name", NAMES)
def test_each_network_is_told_from_all_others(name: str) -> None:
    module = empty_torchvision(name, {})
    reading = recognise(_with_classes(module, 7), input_size=None)
    assert reading.name == f"torchvision:{name}"
    assert any(f"the images are {reading.input_size[0]}x" in line for line in reading.assumptions)
    family = family_of(module.state_dict().keys())
    assert family is not None
    assert family.networks[name] == count_trunk_keys(module.state_dict().keys())


def test_a_resnet_with_other_classes_computes_the_same(saved: Save) -> None:
    owner = settled(_resnet18())
    loaded = load_model(saved({"module." + key: value for key, value in owner.state_dict().items()}))
    assert (loaded.architecture.name, loaded.architecture.origin) == ("torchvision:resnet18", "recognised")
    assert (loaded.input_size, loaded.num_classes) == ((224, 224), 3)
    _assert_same(loaded, owner)


def test_the_stated_size_overrules_torchvision_s() -> None:
    reading = recognise(empty_torchvision("resnet18", {}).state_dict(), input_size=(64, 64))
    assert reading.input_size == (64, 64)
    assert not any("the images are" in line for line in reading.assumptions)


def test_a_vit_states_its_size_by_its_positions() -> None:
    module = import_torchvision().models.vit_b_32(weights=None, image_size=64)
    assert recognise(module.state_dict(), input_size=None).input_size == (64, 64)


def test_batch_counters_may_be_absent() -> None:
    state = {key: value for key, value in _resnet18().state_dict().items() if "num_batches" not in key}
    assert recognise(state, input_size=None).name == "torchvision:resnet18"


def test_a_first_convolution_for_grey_images_is_taken_over(saved: Save) -> None:
    owner = _resnet18()
    owner.conv1 = nn.Conv2d(1, 64, 7, 2, 3)
    loaded = load_model(saved(settled(owner).state_dict()))
    assert loaded.input_channels == 1
    assert any("takes 1 channel" in line for line in loaded.architecture.assumptions)
    _assert_same(loaded, owner)


HEADS: dict[str, Callable[[], nn.Module]] = {
    "Dropout first": lambda: nn.Sequential(nn.Dropout(), nn.Linear(512, 3)),
    "ReLU and Dropout": lambda: nn.Sequential(nn.Linear(512, 8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 3)),
    "BatchNorm": lambda: nn.Sequential(nn.Linear(512, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)),
}


@pytest.mark.parametrize("head", HEADS)
def test_a_head_of_indices_is_built_and_its_gaps_assumed(saved: Save, head: str) -> None:
    owner = _resnet18()
    owner.fc = HEADS[head]()
    loaded = load_model(saved(settled(owner).state_dict()))
    assert "with another head" in loaded.architecture.description
    assert any("first Linear lies nothing but" in line for line in loaded.architecture.assumptions)
    _assert_same(loaded, owner)


@pytest.mark.parametrize("whole", [False, True], ids=["last layer", "classifier"])
def test_a_head_may_replace_the_last_layer_or_the_classifier(saved: Save, whole: bool) -> None:
    owner = import_torchvision().models.mobilenet_v2(weights=None)
    head = nn.Sequential(nn.Linear(1280, 8), nn.ReLU(), nn.Linear(8, 3))
    if whole:
        owner.classifier = head
    else:
        owner.classifier[1] = head
    _assert_same(load_model(saved(settled(owner).state_dict())), owner)


UNREAD: dict[str, nn.Module] = {
    "names": nn.Sequential(OrderedDict(fc1=nn.Linear(512, 8), relu=nn.ReLU(), fc2=nn.Linear(8, 3))),
    "a BatchNorm after a ReLU": nn.Sequential(
        nn.Linear(512, 8), nn.ReLU(), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 3)
    ),
    "a BatchNorm first": nn.Sequential(nn.BatchNorm1d(512), nn.Dropout(), nn.Linear(512, 3)),
    "a gap of three": nn.Sequential(nn.Linear(512, 8), nn.ReLU(), nn.Dropout(), nn.Identity(), nn.Linear(8, 3)),
}


@pytest.mark.parametrize("head", UNREAD)
def test_a_head_that_keys_do_not_tell_is_named_and_refused(head: str) -> None:
    owner = _resnet18()
    owner.fc = UNREAD[head]
    with pytest.raises(ArchitectureError, match=r"It is torchvision's resnet18 with another head: fc\.") as caught:
        recognise(owner.state_dict(), input_size=None)
    assert "`model='MODULE:CALLABLE'`" in caught.value.hint


def test_a_resnet_for_cifar_is_not_taken_for_torchvision_s() -> None:
    owner = _resnet18()
    owner.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    with pytest.raises(ArchitectureError, match=r"\(64, 3, 3, 3\) instead of \(64, 3, 7, 7\)"):
        recognise(owner.state_dict(), input_size=None)
    renamed = {
        key.replace("downsample", "shortcut").replace("fc.", "linear."): value
        for key, value in owner.state_dict().items()
    }
    with pytest.raises(ArchitectureError, match=r"nearest known network is torchvision's resnet18") as caught:
        recognise(renamed, input_size=None)
    message = caught.value.message
    assert "101 of the 122 keys here" in message
    assert "missing: layer2.0.downsample.0.weight" in message
    assert "unexpected: layer2.0.shortcut.0.weight" in message
