from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vgg_models import load_model
from vgg_models.types import CheckpointInfo
from vgg_runtime.errors import CheckpointError, UsageError

Save = Callable[[object], Path]

IMAGES = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))


class Twice(nn.Module):
    """A network whose forward is not in the order of its attributes, nor in any state dict."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.conv, self.norm = nn.Linear(64, 6), nn.Conv2d(1, 1, 3, padding=1), nn.BatchNorm2d(1)
        self.dropout = nn.Dropout()

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.head(self.dropout(self.norm(self.conv(self.conv(images)))).flatten(1))
        return scores


@pytest.fixture
def network() -> Twice:
    torch.manual_seed(0)
    return Twice()


def condition(module: nn.Module) -> list[Any]:
    """Everything of a module that a caller could miss afterwards."""
    layers = [(layer, layer.training) for layer in module.modules()]
    tensors = [*module.parameters(), *module.buffers()]
    return [layers, [(id(each), each.dtype, each.device, each.requires_grad, each.tolist()) for each in tensors]]


def test_module_is_loaded_in_eval_mode_and_left_in_its_own(network: Twice) -> None:
    network.train().half()
    network.conv.requires_grad_(False)
    before = condition(network)
    loaded = load_model(network, input_size=(8, 8))
    assert condition(network) == before
    assert not any(layer.training for layer in loaded.module.modules())
    assert {(p.dtype, p.requires_grad) for p in loaded.module.parameters()} == {(torch.float32, False)}
    assert torch.equal(loaded.module(IMAGES), copy.deepcopy(network).float().eval()(IMAGES))
    assert loaded.checkpoint == CheckpointInfo("module", notes=("8 tensors cast from float16 to float32",))
    assert loaded.architecture.origin == "module"


def test_module_trained_on_later_leaves_the_copy_alone(network: Twice) -> None:
    loaded = load_model(network, input_size=(8, 8))
    before = loaded.module(IMAGES)
    with torch.no_grad():
        network.head.weight.zero_()
    assert torch.equal(loaded.module(IMAGES), before)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # torch.compile imports what warns
@pytest.mark.parametrize("wrap", [nn.DataParallel, torch.compile], ids=["DataParallel", "compile"])
def test_network_inside_a_wrapper_is_taken(network: Twice, wrap: Callable[[nn.Module], nn.Module]) -> None:
    loaded = load_model(wrap(network), input_size=(8, 8))
    assert isinstance(loaded.module, Twice)
    assert len(loaded.checkpoint.notes) == 1
    assert torch.equal(loaded.module(IMAGES), network.eval()(IMAGES))


def test_model_option_takes_the_weights_of_a_module() -> None:
    network = load_model("random:mnist-cnn").module
    loaded = load_model(network, model="mnist-cnn")
    assert (loaded.architecture.origin, loaded.checkpoint.kind) == ("named", "module")
    assert loaded.module is not network
    images = torch.zeros(1, loaded.input_channels, *loaded.input_size)
    assert torch.equal(loaded.module(images), network(images))


def test_state_dict_gives_what_its_file_gives(saved: Save) -> None:
    network = load_model("random:mnist-cnn").module
    weights = {f"module.{key}": value.double() for key, value in network.state_dict().items()}
    training = {"state_dict": weights, "epoch": 3}
    before = copy.deepcopy(weights)
    loaded, from_file = load_model(training), load_model(saved(training))
    assert loaded.architecture == from_file.architecture
    assert loaded.checkpoint == CheckpointInfo("state dict", notes=from_file.checkpoint.notes)
    images = torch.ones(1, loaded.input_channels, *loaded.input_size)
    assert torch.equal(loaded.module(images), from_file.module(images))
    torch.testing.assert_close(weights, before, rtol=0, atol=0)


def test_facts_that_a_training_loop_saved_are_read() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    loaded = load_model({"model": network, "class_names": ["cat", "dog"]}, input_size=(8, 8), input_channels=1)
    assert loaded.metadata.labels[0].value == ("cat", "dog")


def uncopyable() -> nn.Module:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    network.lines = (line for line in "ab")  # type: ignore[assignment]
    return network


def not_a_number() -> nn.Module:
    network = nn.Linear(64, 2)
    nn.init.constant_(network.weight, torch.nan)
    return network


def scripted() -> nn.Module:
    script: nn.Module = torch.jit.script(nn.Sequential(nn.Flatten(), nn.Linear(64, 2)))
    return script


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (uncopyable, "Sequential can't be copied: TypeError"),
        (not_a_number, "NaN or infinite: weight"),
        (scripted, "TorchScript module has no Python code"),
        (lambda: nn.LazyLinear(2), "weight .uninitialized"),
        (lambda: nn.Linear(64, 2, device="meta"), "weight .meta"),
        (dict, "an empty dict"),
        (lambda: {"epoch": 3}, "no weights"),
        (lambda: {"layer.weight": torch.ones(2, 2), "layer.bias": [1.0, 2.0]}, "layer.bias .a list"),
    ],
)
def test_what_cannot_be_exported_is_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        load_model(make(), input_size=(8, 8))


def test_nan_is_let_through_where_it_is_allowed() -> None:
    network = nn.Sequential(nn.Flatten(), not_a_number())
    loaded = load_model(network, input_size=(8, 8), input_channels=1, allow_nonfinite=True)
    assert loaded.checkpoint.notes == ("NaN or infinite weights were let through: 1.weight",)


def test_average_of_a_module_that_has_none_is_refused(network: Twice) -> None:
    with pytest.raises(CheckpointError, match="no running average"):
        load_model(network, weights="ema")


def test_attribute_order_of_a_module_with_its_class_is_refused(network: Twice) -> None:
    with pytest.raises(UsageError, match="saved whole"):
        load_model(network, attribute_order=True)


@pytest.mark.parametrize("source", [3, None, b"weights.pth", [torch.ones(1)]])
def test_source_of_another_type_is_refused(source: Any) -> None:
    with pytest.raises(UsageError, match=f"a path, an nn.Module or a state dict, got {type(source).__name__}"):
        load_model(source)
