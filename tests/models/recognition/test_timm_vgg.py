from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lesson_networks import settled
from torch import Tensor, nn
from torch.nn import functional

from vgg_models import load_model
from vgg_models.architectures.vgg import CONFIGURATIONS, make_features
from vgg_models.recognition.timm_vgg import recognise

Save = Callable[[object], Path]


class _TimmVGG(nn.Module):
    """VGG-11 with timm's key names and its forward, with a narrow head."""

    def __init__(self, *, batch_norm: bool = False) -> None:
        super().__init__()
        self.features = make_features(CONFIGURATIONS["vgg11"], batch_norm=batch_norm)
        self.pre_logits = nn.ModuleDict({"fc1": nn.Conv2d(512, 6, 7), "fc2": nn.Conv2d(6, 5, 1)})
        self.head = nn.ModuleDict({"fc": nn.Linear(5, 3)})

    def forward(self, images: Tensor) -> Tensor:
        maps = self.features(images)
        if min(maps.shape[-2:]) < 7:
            maps = functional.adaptive_avg_pool2d(maps, [max(side, 7) for side in maps.shape[-2:]])
        maps = functional.relu(self.pre_logits["fc1"](maps))
        maps = functional.relu(self.pre_logits["fc2"](maps))
        logits: Tensor = self.head["fc"](maps.mean(dim=(2, 3)))
        return logits


@pytest.mark.parametrize("size", [None, (64, 96), (256, 288)], ids=["224", "stretched", "averaged"])
def test_timm_s_vgg_computes_the_same_at_each_size(saved: Save, size: tuple[int, int] | None) -> None:
    owner = settled(_TimmVGG(batch_norm=size is None))
    loaded = load_model(saved(owner.state_dict()), input_size=size)
    assert loaded.architecture.name == ("vgg11_bn" if size is None else "vgg11")
    assert (loaded.input_size, loaded.num_classes) == (size or (224, 224), 3)
    assert any("timm's size" in line for line in loaded.architecture.assumptions) == (size is None)
    images = torch.rand(2, 3, *loaded.input_size, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        torch.testing.assert_close(loaded.module(images), owner(images))


def test_another_head_or_configuration_is_not_timm_s() -> None:
    state = _TimmVGG().state_dict()
    assert recognise(state, input_size=None)
    assert not recognise({key: value for key, value in state.items() if "fc2" not in key}, input_size=None)
    assert not recognise(state | {"head.norm.weight": torch.ones(5)}, input_size=None)
    narrow = {"features.0.weight": torch.empty(63, 3, 3, 3), "features.3.weight": torch.empty(128, 63, 3, 3)}
    assert not recognise(state | narrow, input_size=None)
