from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from vgg_models import layer_table
from vgg_models._torchvision import import_torchvision
from vgg_models.architectures.vgg import build_vgg


@pytest.mark.parametrize(("classes", "parameters"), [(1000, 138_357_544), (5, 134_281_029)])
def test_vgg16(classes: int, parameters: int) -> None:
    with torch.device("meta"):
        table = layer_table(build_vgg("vgg16", num_classes=classes), (3, 224, 224))
    assert table.parameters == parameters
    assert table.bytes == 4 * parameters
    assert table.macs == 15_470_264_320 - 4096 * (1000 - classes)
    # Of the convolutions, by resolution, then of the fully connected layers; pools and ReLUs are not counted.
    assert (
        table.activations
        == 2 * 64 * 224** 2
        + 2 * 128 * 112** 2
        + 3 * 256 * 56** 2
        + 3 * 512 * 28** 2
        + 3 * 512 * 14** 2
        + (2 * 4096 + classes)
    )
    first = table.rows[0]
    assert (first.name, first.type, first.output_shape) == ("features.0", "Conv2d", (64, 224, 224))
    assert (first.parameters, first.macs) == (64 * (27 + 1), 64 * 27 * 224 * 224)


@pytest.mark.parametrize(
    ("layer", "macs"),
    [
        (nn.Conv2d(8, 8, 3, groups=8, padding=1), 8 * 9 * 100),
        (nn.Conv2d(8, 16, 3, groups=4), 16 * 2 * 9 * 64),
        (nn.Conv2d(8, 4, (1, 3), stride=2), 4 * 8 * 3 * 5 * 4),
        (nn.ConvTranspose2d(8, 4, 2, stride=2), 100 * 8 * 4 * 4),
        (nn.MaxPool2d(2), 0),
        (nn.Linear(10, 3), 80 * 10 * 3),
    ],
    ids=["depthwise", "grouped", "strided", "transposed", "pool", "linear on every row"],
)
def test_multiply_accumulates_of_one_layer(layer: nn.Module, macs: int) -> None:
    assert layer_table(nn.Sequential(layer), (8, 10, 10)).macs == macs


def test_layer_used_twice_costs_twice_with_parameters_once() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shared = nn.Conv2d(3, 3, 1)

        def forward(self, images: Tensor) -> Tensor:
            result: Tensor = self.shared(self.shared(images))
            return result

    table = layer_table(Twice(), (3, 4, 4))
    assert (table.parameters, table.macs) == (12, 2 * 9 * 16)


@pytest.mark.parametrize("name", ["vit_b_16", "convnext_tiny", "densenet121"])
def test_no_parameter_is_left_out(name: str) -> None:
    torchvision = import_torchvision()
    with torch.device("meta"):
        model = torchvision.models.get_model(name, weights=None).eval()
    assert layer_table(model, (3, 224, 224)).parameters == sum(p.numel() for p in model.parameters())


def test_the_hooks_are_gone_afterwards() -> None:
    model = nn.Sequential(nn.Linear(4, 4))
    layer_table(model, (1, 1, 4))
    assert not model[0]._forward_hooks
