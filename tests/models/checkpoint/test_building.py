"""Tensors and modules that are built from descriptions: views of the file, each made once."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vgg_models.checkpoint.building import Builder, StubModule, is_stub
from vgg_models.checkpoint.descriptions import ObjectDescription, Placeholder, StorageDescription, TensorDescription
from vgg_runtime.errors import CheckpointError

NUMBERS = torch.arange(12.0)
STORAGE = StorageDescription("0", torch.float32, "cpu", 12)
WHOLE = TensorDescription(STORAGE, torch.float32, 0, (3, 4), (4, 1))


def build(content: object) -> Any:
    return Builder({"0": NUMBERS.untyped_storage()}).build(content)


def layer(name: str, **state: object) -> ObjectDescription:
    return ObjectDescription(name, {"_parameters": {}, "_buffers": {}, "_modules": {}, "training": False, **state})


def test_a_tensor_is_the_described_view() -> None:
    transposed = build(TensorDescription(STORAGE, torch.float32, 1, (3, 2), (1, 4)))
    assert torch.equal(transposed, NUMBERS.as_strided((3, 2), (1, 4), 1))
    assert transposed.untyped_storage().data_ptr() == NUMBERS.data_ptr()
    assert torch.equal(build(replace(WHOLE, dtype=torch.int32)), NUMBERS.view(torch.int32).reshape(3, 4))


def test_a_parameter_is_one_that_is_not_trained() -> None:
    parameter = build(replace(WHOLE, is_parameter=True))
    assert isinstance(parameter, nn.Parameter)
    assert not parameter.requires_grad
    assert type(build(WHOLE)) is Tensor


def test_what_is_described_once_is_built_once() -> None:
    shared, relu = (WHOLE,), layer("torch.nn.modules.activation.ReLU")
    content = build({"a": [shared, shared], "b": OrderedDict(c=replace(WHOLE)), "d": [relu, relu], "e": "text"})
    assert content["a"][0] is content["a"][1]
    assert content["a"][0][0] is content["b"]["c"]
    assert content["d"][0] is content["d"][1]
    assert content["e"] == "text"


def test_views_are_four_times_their_storage_at_most() -> None:
    views = [TensorDescription(STORAGE, torch.float32, 0, shape, (1,) * len(shape)) for shape in ((12,), (12, 1))]
    assert len(build([*views, WHOLE, replace(WHOLE, is_parameter=True)])) == 4
    with pytest.raises(CheckpointError, match=r"tensors of the storage 0 overlap: .* 4 times its 48 bytes"):
        build([*views, WHOLE, replace(WHOLE, is_parameter=True), replace(WHOLE, shape=(1,), strides=(1,))])


def test_a_layer_of_torch_gets_its_state() -> None:
    linear = build(layer("torch.nn.modules.linear.Linear", in_features=4, _parameters={"weight": WHOLE, "bias": None}))
    assert type(linear) is nn.Linear
    assert torch.equal(linear.weight, NUMBERS.reshape(3, 4))
    assert (linear.bias, linear.in_features, linear.training) == (None, 4, False)


def test_a_class_of_the_users_own_is_replaced_by_a_stub() -> None:
    net = build(
        layer("mine.nets.Net", _modules={"0": layer("torch.nn.modules.activation.ReLU", inplace=True)}, depth=1)
    )
    assert is_stub(net)
    assert not is_stub(net[0] if isinstance(net, nn.Sequential) else net.get_submodule("0"))
    assert (type(net).__name__, type(net).__module__, net.depth) == ("Net", "mine.nets", 1)
    assert isinstance(net, StubModule)


@pytest.mark.parametrize("state", [None, {}, [1], {"a": 1}])
def test_an_object_that_is_no_module_keeps_nothing(state: object) -> None:
    instance = build(ObjectDescription("mine.Config", state))
    assert isinstance(instance, Placeholder)
    assert (type(instance).__name__, vars(instance)) == ("Config", {})


@pytest.mark.parametrize("state", [None, {}, {"in_features": 4}])
def test_a_layer_without_the_state_of_one_is_refused(state: object) -> None:
    with pytest.raises(CheckpointError, match="a Linear of the checkpoint has a state that no layer has"):
        build(ObjectDescription("torch.nn.modules.linear.Linear", state))
