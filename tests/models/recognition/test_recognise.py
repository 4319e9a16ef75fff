from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vgg_models.recognition.recognise import recognise
from vgg_runtime.errors import ArchitectureError

FULLY_CONNECTED = {"net.0.weight": torch.empty(5, 784), "net.2.weight": torch.empty(3, 5)}


def _refusal(state: dict[str, Tensor]) -> ArchitectureError:
    with pytest.raises(ArchitectureError, match="can't be read off") as caught:
        recognise(state, input_size=None)
    return caught.value


def test_keys_of_no_known_layer_are_named() -> None:
    refusal = _refusal({"mean": torch.empty(1, 3, 1, 1), **FULLY_CONNECTED, "net.scale": torch.empty(3)})
    assert "If the model runs without mean, net.scale, save the others alone" in refusal.hint


def test_many_of_them_are_a_network_of_another_kind() -> None:
    refusal = _refusal({f"blocks.{number}.scale": torch.empty(3) for number in range(7)})
    assert "save the others" not in refusal.hint
    assert "7 other layers" in refusal.message


def test_of_many_keys_the_first_and_the_last_are_shown() -> None:
    convolutions = {f"features.{number}.weight": torch.empty(2, 3, 3, 3) for number in range(7)}
    assert (
        "features.2.weight, ..., features.6.weight, extra.weight, extra.bias"
        in _refusal({**convolutions, "extra.weight": torch.empty(3, 3), "extra.bias": torch.empty(3)}).message
    )
