from __future__ import annotations

import pytest
import torch
from torch import nn

from vgg_models._torchvision import import_torchvision
from vgg_models.architectures.head import Head, HeadLayer, make_head, paper_head
from vgg_models.architectures.vgg import (
    CONFIGURATIONS,
    VGG,
    VGG_NAMES,
    build_vgg,
    configuration_of,
    describe,
    make_features,
    name_of,
)
from vgg_runtime.errors import ArchitectureError

# Parameters in millions, table 2 of the paper.
PAPER_MILLIONS = {
    "vgg11": 133,
    "vgg11-lrn": 133,
    "vgg11-lrn-k1": 133,
    "vgg13": 133,
    "vgg16-1x1": 134,
    "vgg16": 138,
    "vgg19": 144,
}


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("name", list(CONFIGURATIONS))
def test_the_paper_s_parameter_counts(name: str) -> None:
    with torch.device("meta"):
        # The paper's table rounds; 133 is said of 132.86 and of 133.05 million alike.
        assert abs(_parameters(build_vgg(name)) / 1e6 - PAPER_MILLIONS[name]) <= 0.7


@pytest.mark.parametrize(("classes", "parameters"), [(1000, 138_357_544), (5, 134_281_029)])
def test_vgg16_to_the_last_parameter(classes: int, parameters: int) -> None:
    with torch.device("meta"):
        assert _parameters(build_vgg("vgg16", num_classes=classes)) == parameters


@pytest.mark.parametrize("name", [f"vgg{depth}{suffix}" for depth in (11, 13, 16, 19) for suffix in ("", "_bn")])
def test_the_keys_and_shapes_are_torchvision_s(name: str) -> None:
    torchvision = import_torchvision()
    with torch.device("meta"):
        theirs = torchvision.models.get_model(name, weights=None).state_dict()
        ours = build_vgg(name).state_dict()
    assert {key: value.shape for key, value in ours.items()} == {key: value.shape for key, value in theirs.items()}


def test_lrn_stands_after_the_first_relu() -> None:
    first = [type(layer) for layer in make_features(CONFIGURATIONS["vgg11-lrn"])[:5]]
    assert first == [nn.Conv2d, nn.ReLU, nn.LocalResponseNorm, nn.MaxPool2d, nn.Conv2d]


def test_lrn_is_the_alexnet_paper_s() -> None:
    """As b = a / (k + alpha / n * sum of a² over n neighbouring channels) ** beta, alpha / n as in torch and Caffe."""
    (layer,) = (
        layer for layer in make_features(CONFIGURATIONS["vgg11-lrn"]) if isinstance(layer, nn.LocalResponseNorm)
    )
    activations = torch.rand(1, 9, 2, 2) * 100
    squares = torch.stack([activations[:, max(c - 2, 0) : c + 3].square().sum(1) for c in range(9)], dim=1)
    torch.testing.assert_close(layer(activations), activations / (2 + 1e-4 / 5 * squares) ** 0.75)


def test_the_third_convolution_of_a_stage_of_c_is_1x1() -> None:
    kernels = [
        layer.kernel_size[0] for layer in make_features(CONFIGURATIONS["vgg16-1x1"]) if isinstance(layer, nn.Conv2d)
    ]
    assert kernels == [3, 3, 3, 3, 3, 3, 1, 3, 3, 1, 3, 3, 1]


@pytest.mark.parametrize("name", VGG_NAMES)
def test_every_name_leads_to_a_configuration_and_back(name: str) -> None:
    configuration, batch_norm = configuration_of(name)
    assert name_of(configuration, batch_norm=batch_norm) == name
    assert describe(name).startswith("VGG-")


def test_slim_vgg_without_bias_and_with_pool_runs() -> None:
    features = make_features((4, "M", (6, 1), "M"), input_channels=1, batch_norm=True, bias=False)
    model = VGG(features, make_head(paper_head(6 * 2 * 2, 7, hidden=5)), pooled_size=(2, 2)).eval()
    assert model(torch.ones(2, 1, 21, 13)).shape == (2, 7)
    assert features[0].bias is None


def test_images_too_small_for_the_pools_are_refused() -> None:
    with pytest.raises(ArchitectureError, match="31x31 are too small for vgg16: its 5 pools need 32"):
        build_vgg("vgg16", input_size=(31, 31))


@pytest.mark.parametrize(("dropout_first", "kinds"), [(False, "LRDLRDL"), (True, "DLRDLRDL")])
def test_both_head_layouts(dropout_first: bool, kinds: str) -> None:
    head = make_head(paper_head(8, 3, hidden=4, dropout_first=dropout_first))
    assert "".join(type(layer).__name__[0] for layer in head.children()) == kinds


def test_a_head_with_a_layer_added_by_name() -> None:
    head = make_head(Head((HeadLayer("0", 8, 5), HeadLayer("2", 5, 4), HeadLayer("add_linear", 4, 3, bias=False))))
    assert list(head.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias", "add_linear.weight"]


@pytest.mark.parametrize(
    "layers",
    [
        (),
        (HeadLayer("0", 8, 5), HeadLayer("2", 6, 4)),
        (HeadLayer("0", 8, 5), HeadLayer("9", 5, 4)),
        (HeadLayer("7", 8, 5),),
    ],
    ids=["none", "widths that don't meet", "a gap too wide", "too much before the first"],
)
def test_a_head_that_makes_no_sense_is_not_made(layers: tuple[HeadLayer, ...]) -> None:
    with pytest.raises(ValueError, match=r"."):
        Head(layers)
