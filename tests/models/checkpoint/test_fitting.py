from __future__ import annotations

import pytest
import torch
from torch import nn

from vgg_models.checkpoint.state_dict import fit
from vgg_runtime.errors import ArchitectureError


def _on_meta() -> nn.Sequential:
    with torch.device("meta"):
        return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))


def _state(prefix: str = "") -> dict[str, torch.Tensor]:
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    return {prefix + key: value.detach() for key, value in module.state_dict().items()}


def test_the_tensors_are_taken_over_without_a_copy() -> None:
    module, state = _on_meta(), _state()
    assert fit(module, state, architecture="it") == ()
    assert module[0].weight.data_ptr() == state["0.weight"].data_ptr()


def test_prefixes_come_off_until_the_keys_fit() -> None:
    notes = fit(_on_meta(), _state("module.model."), architecture="it")
    assert [note.split("'")[1] for note in notes] == ["module.", "model."]


def test_a_prefix_that_the_module_has_itself_stays() -> None:
    module = nn.Module()
    module.model = _on_meta()
    assert fit(module, _state("model."), architecture="it") == ()


def test_everything_that_does_not_fit_is_listed_in_one_message() -> None:
    state = _state()
    state["2.weight"] = state.pop("0.bias")
    state["0.weight"] = torch.ones(2, 3, 3, 3)
    del state["1.running_mean"]
    with pytest.raises(ArchitectureError) as caught:
        fit(_on_meta(), state, architecture="mynet:Net")
    assert caught.value.message == (
        "the checkpoint doesn't fit mynet:Net: missing are 0.bias, 1.running_mean; unexpected are 2.weight; "
        "of another shape or type are 0.weight (2, 3, 3, 3) instead of (2, 1, 3, 3)."
    )


def test_integers_are_no_weights() -> None:
    state = _state() | {"0.weight": torch.ones(2, 1, 3, 3, dtype=torch.int8)}
    with pytest.raises(ArchitectureError, match=r"0\.weight torch.int8 instead of torch.float32"):
        fit(_on_meta(), state, architecture="it")


@pytest.mark.parametrize("counter", [None, torch.tensor(7.0)], ids=["missing", "cast with the weights"])
def test_batch_norm_counter_is_not_compared(counter: torch.Tensor | None) -> None:
    module, state = _on_meta(), _state()
    del state["1.num_batches_tracked"]
    if counter is not None:
        state["1.num_batches_tracked"] = counter
    fit(module, state, architecture="it")
    assert module[1].num_batches_tracked.dtype is torch.int64
    assert not module[1].num_batches_tracked.is_meta
