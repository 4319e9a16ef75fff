"""What people train from the lessons: each model as its owner wrote it, saved as its owner saves it.

The numbers are those of tests/lessons/lesson_rows.py. The class is not at hand when the checkpoint is read; what comes
back must compute the same.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lesson_networks import (
    MLP,
    Attributes,
    CifarLeNet,
    CifarVGG,
    FullyConnected,
    LeNet,
    MnistCNN,
    NamedFullyConnected,
    OneSequential,
    Residual,
    WideVGG,
    deep_batch_norm,
    quick_features,
    relu_head,
    settled,
)
from lesson_saving import training_loops
from torch import nn

from vgg_models import LoadedModel, load_model
from vgg_models._torchvision import import_torchvision
from vgg_models.architectures.head import make_head, paper_head
from vgg_models.architectures.vgg import CONFIGURATIONS, build_vgg, make_features
from vgg_runtime.errors import ArchitectureError, UsageError

Save = Callable[[object], Path]
SaveWhole = Callable[[nn.Module], Path]


def assert_same(loaded: LoadedModel, owner: nn.Module, rtol: float = 0) -> None:
    """The same outputs at batch 1, 2 and 5."""
    generator = torch.Generator().manual_seed(1)
    for batch in (1, 2, 5):
        images = torch.rand(batch, loaded.input_channels, *loaded.input_size, generator=generator)
        with torch.inference_mode():
            torch.testing.assert_close(loaded.module(images), owner(images), rtol=rtol, atol=rtol)


def shape_of(loaded: LoadedModel) -> tuple[int, int, int]:
    return (loaded.input_channels, *loaded.input_size)


# 1, 2: the VGG paper's table, both heads ------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "classes"), [("vgg11-lrn", 7), ("vgg16-1x1", 5)])
def test_row_1_and_2_vggs_of_the_paper(saved: Save, name: str, classes: int) -> None:
    # At 32x32 instead of 224x224: the first Linear is smaller by a factor of 49, the grammar is the same.
    owner = settled(build_vgg(name, num_classes=classes, input_size=(32, 32)))
    model = name if "lrn" in name else None  # the k of a normalization leaves no key
    assert_same(load_model(saved(owner.state_dict()), model=model, input_size=(32, 32)), owner)


# 3: torchvision's vgg16, changed --------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["replaced", "added"])
@pytest.mark.parametrize("whole", [False, True], ids=["state dict", "whole module"])
def test_row_3_torchvision_s_vgg16_with_another_last_layer(saved: Save, change: str, whole: bool) -> None:
    # torchvision's class and its avgpool; slim, because the widths change nothing here.
    with torch.device("meta"):
        owner = import_torchvision().models.vgg16(weights=None)
    owner.features = make_features(tuple(entry if entry == "M" else 8 for entry in CONFIGURATIONS["vgg16"]))
    owner.classifier = make_head(paper_head(8 * 7 * 7, 1000, hidden=32))
    if change == "replaced":
        owner.classifier[6] = nn.Linear(32, 10)
    else:
        owner.classifier.add_module("add_linear", nn.Linear(1000, 10))
    settled(owner)
    loaded = load_model(saved(owner if whole else owner.state_dict()))
    assert (shape_of(loaded), loaded.num_classes) == ((3, 224, 224), 10)
    assert_same(loaded, owner)


# 4, 5, 6: the CIFAR-10 quick net --------------------------------------------------------------------------------------


def test_row_4_quick_net(saved: Save, saved_by_a_stranger: SaveWhole) -> None:
    owner = settled(OneSequential(*quick_features(), nn.Linear(1024, 64), nn.Linear(64, 10)))
    for loaded in (load_model(saved_by_a_stranger(owner)), load_model(saved(owner.state_dict()))):
        assert shape_of(loaded) == (3, 32, 32)
        assert_same(loaded, owner)


def test_row_5_first_form(saved: Save) -> None:
    owner = settled(OneSequential(*quick_features(), nn.Linear(1024, 256), nn.Linear(256, 64), nn.Linear(64, 10)))
    loaded = load_model(saved(owner.state_dict()))
    assert_same(loaded, owner)
    assert any("nothing follows the last Linear" in line for line in loaded.architecture.assumptions)


@pytest.mark.parametrize("last", [False, True])
def test_row_5_second_form_is_not_taken_for_another_in_silence(
    saved: Save, saved_by_a_stranger: SaveWhole, last: bool
) -> None:
    owner = settled(OneSequential(*quick_features(), *relu_head(last=last)))
    path = saved(owner.state_dict())
    with pytest.raises(ArchitectureError, match="more than one way") as caught:
        load_model(path)
    assert "`model='cifar10-quick-relu'`: " in caught.value.message
    assert "`model='cifar10-quick-relu-end'`: " in caught.value.message
    assert_same(load_model(path, model="cifar10-quick-relu-end" if last else "cifar10-quick-relu"), owner)
    assert_same(load_model(saved_by_a_stranger(owner)), owner)


def test_row_6_confirmed_attribute_order_runs(saved_by_a_stranger: SaveWhole) -> None:
    owner = settled(Attributes())
    path = saved_by_a_stranger(owner)
    with pytest.raises(ArchitectureError, match=r"conv1 \(Conv2d\), maxpool1 \(MaxPool2d\)") as caught:
        load_model(path)
    assert "`attribute_order=True`" in caught.value.hint
    loaded = load_model(path, attribute_order=True)
    assert any("conv1 → maxpool1 → conv2" in line for line in loaded.architecture.assumptions)
    assert_same(loaded, owner)


def test_row_6_state_dict_needs_its_topology_named(saved: Save) -> None:
    owner = settled(Attributes())
    path = saved(owner.state_dict())
    with pytest.raises(ArchitectureError, match=r"3 convolutions, 2 Linear layers") as caught:
        load_model(path)
    assert "`model='cifar10-quick'`." in caught.value.hint
    assert_same(load_model(path, model="cifar10-quick"), owner)


@pytest.mark.parametrize("model", [None, "cifar10-quick"])
def test_attribute_order_has_no_meaning_for_a_state_dict(saved: Save, model: str | None) -> None:
    with pytest.raises(UsageError, match="saved whole"):
        load_model(saved(Attributes().state_dict()), model=model, attribute_order=True)


def test_attribute_order_is_not_offered_where_it_does_not_run(saved_by_a_stranger: SaveWhole) -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pool, self.conv, self.fc = nn.MaxPool2d(2), nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

    path = saved_by_a_stranger(Shared())
    with pytest.raises(ArchitectureError) as caught:
        load_model(path)
    assert "attribute_order" not in caught.value.hint
    with pytest.raises(ArchitectureError):
        load_model(path, attribute_order=True)


# 7: wide CIFAR VGG ----------------------------------------------------------------------------------------------------


def test_row_7_wide_vgg(saved: Save) -> None:
    owner = settled(WideVGG())
    loaded = load_model(saved(owner.state_dict()))
    assert (loaded.architecture.name, shape_of(loaded)) == ("cifar-vgg-wide", (3, 32, 32))
    assert_same(loaded, owner)


def test_row_7_in_the_order_of_its_names(saved: Save) -> None:
    """As safetensors writes it: ``classifier`` first."""
    owner = settled(WideVGG())
    assert_same(load_model(saved(dict(sorted(owner.state_dict().items())))), owner)


def test_layers_that_were_made_last_first(saved: Save) -> None:
    layers = {"out": nn.Linear(512, 10), "hidden": nn.Linear(512, 512), "first": nn.Linear(784, 512)}
    relu, flatten = nn.ReLU(), nn.Flatten()
    owner = nn.Sequential(flatten, layers["first"], relu, layers["hidden"], relu, layers["out"])
    loaded = load_model(saved(nn.ModuleDict(layers).state_dict()))
    assert loaded.architecture.name == "mlp-512"
    assert_same(loaded, owner)


# 8: deep BN net -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", [3, 5])
def test_row_8_deep_batch_norm_net(saved: Save, saved_by_a_stranger: SaveWhole, kernel: int) -> None:
    owner = settled(OneSequential(*deep_batch_norm(kernel, kernel // 2)))
    assert_same(load_model(saved_by_a_stranger(owner)), owner)
    loaded = load_model(saved(owner.state_dict()), input_size=(32, 32))
    assert shape_of(loaded) == (3, 32, 32)
    assert_same(loaded, owner)


def test_row_8_is_recognised_without_the_size_too(saved: Save) -> None:
    owner = settled(OneSequential(*deep_batch_norm(3, 1)))
    assert_same(load_model(saved(owner.state_dict())), owner)


# 9: residual net ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("whole", [False, True], ids=["state dict", "whole module"])
def test_row_9_residual_net_needs_its_class_and_says_so(
    saved: Save, saved_by_a_stranger: SaveWhole, whole: bool
) -> None:
    owner = OneSequential(Residual(3, 8), nn.MaxPool2d(2), Residual(8, 16), nn.Flatten(), nn.Linear(16 * 256, 10))
    path = saved_by_a_stranger(owner) if whole else saved(owner.state_dict())
    with pytest.raises(ArchitectureError) as caught:
        load_model(path)
    assert "`model='MODULE:CALLABLE'`" in caught.value.hint


def test_sums_between_sequentials_are_not_read_as_a_row(saved: Save) -> None:
    """A residual block with no weights in its shortcut leaves the keys of a plain row of Sequentials."""
    parts = {"conv1": (3, 8), "conv2": (8, 8), "res1": (8, 8)}
    state = {f"{name}.0.weight": torch.ones(width, channels, 3, 3) for name, (channels, width) in parts.items()}
    state |= {"classifier.2.weight": torch.ones(10, 8 * 64)}
    with pytest.raises(ArchitectureError, match="can't be read off"):
        load_model(saved(state), input_size=(32, 32))


# 10, 11: the MNIST nets -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [FullyConnected, NamedFullyConnected])
def test_row_10_fully_connected(saved: Save, make: Callable[[], nn.Module]) -> None:
    owner = settled(make())
    assert sum(parameter.numel() for parameter in owner.parameters()) == 6442
    loaded = load_model(saved(owner.state_dict()))
    assert (loaded.architecture.name, shape_of(loaded)) == ("mnist-mlp", (1, 28, 28))
    assert_same(loaded, owner)


def test_row_11_mnist_cnn(saved: Save, saved_by_a_stranger: SaveWhole) -> None:
    owner = settled(MnistCNN())
    assert sum(parameter.numel() for parameter in owner.parameters()) == 6422
    for loaded in (load_model(saved(owner.state_dict())), load_model(saved_by_a_stranger(owner))):
        assert (loaded.architecture.name, shape_of(loaded)) == ("mnist-cnn", (1, 28, 28))
        assert_same(loaded, owner)


def test_candidate_that_contradicts_saved_layers_is_refused(saved_by_a_stranger: SaveWhole) -> None:
    class MaxPooled(LeNet):
        def __init__(self) -> None:
            super().__init__("attributes")
            self.pool = nn.MaxPool2d(2)

    with pytest.raises(ArchitectureError, match=r"fit lenet, but the module holds MaxPool2d\(\(2, 2\)"):
        load_model(saved_by_a_stranger(MaxPooled()))


# 13, 14, 15: LeNets and the CIFAR VGG-11 ------------------------------------------------------------------------------


def test_row_13_cifar_lenet(saved: Save) -> None:
    owner = settled(CifarLeNet())
    loaded = load_model(saved(owner.state_dict()))
    assert (loaded.architecture.name, shape_of(loaded)) == ("lenet-cifar", (3, 32, 32))
    assert_same(loaded, owner)


def test_row_14_cifar_vgg(saved: Save) -> None:
    owner = settled(CifarVGG())
    path = saved({"module." + key: value for key, value in owner.state_dict().items()})
    loaded = load_model(path, input_size=(32, 32))
    assert loaded.architecture.name == "vgg11_bn"
    assert_same(loaded, owner)
    assert load_model(path, fallback_input_size=(32, 32)).input_size == (32, 32)
    with pytest.raises(ArchitectureError, match=r"`input_size=32` \(or `preprocess='cifar10'`\)"):
        load_model(path)


@pytest.mark.parametrize("form", ["two Sequentials", "one Sequential", "attributes"])
def test_row_15_lenet_with_average_pooling(saved: Save, form: str) -> None:
    owner = settled(LeNet(form))
    assert sum(parameter.numel() for parameter in owner.parameters()) == 44_426
    path = saved(owner.state_dict())
    loaded = load_model(path)
    assert (loaded.architecture.name, shape_of(loaded)) == ("lenet", (1, 28, 28))
    assert any("give `model='lenet-maxpool'`" in line for line in loaded.architecture.assumptions)
    assert_same(loaded, owner)
    assert load_model(path, model="lenet-maxpool").architecture.name == "lenet-maxpool"


# 16: MLP --------------------------------------------------------------------------------------------------------------


def test_row_16_mlp_of_attributes(saved: Save) -> None:
    owner = settled(MLP())
    names = {"layers.0": "fc1", "layers.3": "fc2", "layers.6": "fc3"}
    state = {f"{names[key.rpartition('.')[0]]}.{key.rpartition('.')[2]}": v for key, v in owner.state_dict().items()}
    loaded = load_model(saved(state))
    assert any("a ReLU follows" in line for line in loaded.architecture.assumptions)
    assert_same(loaded, owner)


@pytest.mark.parametrize("one", [False, True], ids=["Flatten beside", "Flatten within"])
def test_row_16_mlp(saved: Save, saved_by_a_stranger: SaveWhole, one: bool) -> None:
    owner = settled(OneSequential(nn.Flatten(), *MLP().layers) if one else MLP())
    assert sum(parameter.numel() for parameter in owner.parameters()) == 669_706
    for loaded in (load_model(saved(owner.state_dict())), load_model(saved_by_a_stranger(owner))):
        assert shape_of(loaded) == (1, 28, 28)
        assert_same(loaded, owner)


# 18: checkpoints of a training loop -----------------------------------------------------------------------------------


SAID = {
    "loop": "under the key 'model'",
    "Lightning": "'model.'",
    "DataParallel": "DataParallel",
    "EMA beside": "not the average of them under model_ema",
    "compiled": "torch.compile",
}


@pytest.mark.parametrize("kind", SAID)
def test_row_18_training_loops(saved: Save, kind: str) -> None:
    owner = settled(CifarLeNet())
    loaded = load_model(saved(training_loops(owner.state_dict())[kind]))
    assert_same(loaded, owner)
    assert any(SAID[kind] in note for note in loaded.checkpoint.notes)
