from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vgg_models.architectures.vgg import build_vgg
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


def test_long_keys_are_cut_in_the_message() -> None:
    long = "k" * 900
    with torch.device("meta"):
        near_a_vgg = build_vgg("vgg16").state_dict() | {f"{long}.{number}.scale": torch.empty(3) for number in range(3)}
    for state in ({f"{long}.{number}.scale": torch.empty(3) for number in range(5)}, near_a_vgg):
        refusal = _refusal(state)
        assert "k... (908 characters)" in refusal.message
        assert long not in str(refusal)


def test_the_nearest_vgg_is_named_with_what_differs() -> None:
    with torch.device("meta"):
        state = build_vgg("vgg16").state_dict() | {"features.7.weight": torch.empty(128, 128, 5, 5)}
    del state["features.10.bias"]
    refusal = _refusal(state | {"classifier.attention": torch.empty(3)})
    assert "nearest known network is vgg16 (32 keys): 30 of the 32 keys here" in refusal.message
    assert "missing: features.10.bias; unexpected: classifier.attention" in refusal.message
    assert "features.7.weight (128, 128, 5, 5) instead of (128, 128, 3, 3)" in refusal.message


def test_a_vgg_with_a_head_of_names_is_named_and_refused() -> None:
    with torch.device("meta"):
        state = build_vgg("vgg11").state_dict()
    renamed = {key.replace("classifier.", "classifier.fc"): value for key, value in state.items()}
    assert "It is vgg11 with another head: classifier.fc0.weight" in _refusal(renamed).message


def test_what_has_little_in_common_with_all_has_no_nearest() -> None:
    assert "nearest" not in _refusal({"features.0.weight": torch.empty(64, 3, 3, 3)}).message
