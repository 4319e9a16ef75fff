from __future__ import annotations

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from vgg_models.checkpoint.contents import find_weights
from vgg_models.checkpoint.state_dict import without_prefixes
from vgg_runtime.errors import ArchitectureError, CheckpointError

WEIGHTS = {"features.0.weight": torch.ones(1), "classifier.weight": torch.ones(2)}
AVERAGE = {key: value + 1 for key, value in WEIGHTS.items()}
OPTIMIZER = {"state": {0: {"exp_avg": torch.ones(1)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model", "net", "weights", "anything else"])
def test_weights_under_a_key_are_found_and_the_key_is_told(key: str) -> None:
    weights = find_weights({"epoch": 3, "optimizer": OPTIMIZER, key: WEIGHTS, "loss": torch.ones(())})
    assert weights.content == WEIGHTS
    assert weights.notes == (f"the weights were under the key {key!r}",)


def test_a_bare_state_dict_is_taken_as_it_is() -> None:
    assert find_weights(WEIGHTS).content == WEIGHTS
    assert find_weights(WEIGHTS).notes == ()


def test_a_model_saved_whole_in_a_training_loop_is_found() -> None:
    model = nn.Linear(1, 1)
    assert find_weights({"model": model, "epoch": 1}).content is model


@pytest.mark.parametrize("key", ["ema", "model_ema", "ema_state_dict"])
def test_raw_weights_are_preferred_to_averaged_with_a_note(key: str) -> None:
    weights = find_weights({key: AVERAGE, "model": WEIGHTS})
    assert weights.content == WEIGHTS
    assert (
        f"the raw weights were taken, not the average of them under {key}; `weights='ema'` takes that"
        in weights.remarks
    )


def test_the_average_is_taken_where_it_is_asked_for() -> None:
    weights = find_weights({"ema": {"module": AVERAGE, "decay": 0.99}, "model": WEIGHTS}, "ema")
    assert weights.content == AVERAGE
    assert weights.averaged
    assert weights.remarks == ("the average of the weights under ema was taken, not the raw ones under model",)


def test_an_average_of_a_whole_model_is_taken() -> None:
    raw, average = nn.Linear(1, 1), nn.Linear(1, 1)
    assert find_weights({"model": raw, "ema": average}, "ema").content is average
    assert find_weights({"model": raw, "ema": average}).content is raw


@pytest.mark.parametrize("prefix", ["ema.", "model_ema.module."])
def test_average_inside_one_dict_loses_its_counters(prefix: str) -> None:
    counters = {f"{prefix.partition('.')[0]}.{name}": torch.zeros(()) for name in ("decay", "num_updates")}
    average = {f"{prefix}{key}": value for key, value in AVERAGE.items()}
    both = {f"model.{key}": value for key, value in WEIGHTS.items()} | counters | average
    weights = find_weights({"state_dict": both}, "ema")
    *_, (bare, _notes) = without_prefixes(weights.content)  # type: ignore[arg-type]
    assert bare == AVERAGE
    assert weights.averaged
    assert "not the raw ones" in weights.remarks[0]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"model": WEIGHTS, "epoch": 3}, "it holds model (dict of Tensor), epoch (int)"),
        (WEIGHTS, "it holds one set of weights"),
        (nn.Linear(1, 1), "it holds one set of weights"),
    ],
    ids=["loop", "state dict", "module"],
)
def test_an_average_that_is_not_there_is_refused(content: object, said: str) -> None:
    with pytest.raises(CheckpointError, match=re.escape(f"no running average of the weights; {said}")) as caught:
        find_weights(content, "ema")
    assert "model_ema" in caught.value.hint


def test_several_averages_are_listed_and_none_is_taken() -> None:
    with pytest.raises(ArchitectureError, match="ema, model_ema"):
        find_weights({"model": WEIGHTS, "ema": AVERAGE, "model_ema": AVERAGE}, "ema")


def test_an_average_alone_is_taken_and_it_is_said() -> None:
    weights = find_weights({"model": "vgg16", "ema": AVERAGE})
    assert weights.content == AVERAGE
    assert weights.remarks == ("the weights are an average (ema); there were no raw ones beside it",)


def test_an_average_inside_a_lightning_module_is_left_out() -> None:
    both = {f"model.{key}": value for key, value in WEIGHTS.items()} | {f"ema.{key}": v for key, v in AVERAGE.items()}
    weights = find_weights({"state_dict": both, "pytorch-lightning_version": "2.4"})
    assert list(weights.content) == [f"model.{key}" for key in WEIGHTS]  # type: ignore[call-overload]
    assert (
        "left out: ema (an average of the weights; the raw ones were taken, `weights='ema'` takes it)"
        in weights.remarks
    )


def test_the_weights_of_a_loss_are_left_out() -> None:
    weights = find_weights({"criterion.weight": torch.ones(10), **{f"model.{key}": v for key, v in WEIGHTS.items()}})
    assert list(weights.content) == [f"model.{key}" for key in WEIGHTS]  # type: ignore[call-overload]
    assert weights.notes == ("left out: criterion (the loss)",)


def test_the_counters_of_a_profiler_are_left_out() -> None:
    counters = {"total_ops": torch.zeros(1), "features.0.total_ops": torch.ones(1), "total_params": torch.zeros(1)}
    weights = find_weights({"model": {**counters, **WEIGHTS}})
    assert weights.content == WEIGHTS
    assert "left out: total_ops, total_params (counters of the profiler thop)" in weights.notes


def test_a_model_that_is_called_like_an_average_is_no_average() -> None:
    assert len(find_weights({f"ema.{key}": value for key, value in WEIGHTS.items()}).content) == 2  # type: ignore[arg-type]


def test_several_models_are_listed_and_none_is_taken() -> None:
    with pytest.raises(ArchitectureError, match="generator, discriminator"):
        find_weights({"generator": WEIGHTS, "discriminator": AVERAGE})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([1, 2], "holds a list"),
        (torch.ones(1), "holds a Tensor"),
        ({}, "an empty dict"),
        ({"epoch": 3, "optimizer": OPTIMIZER}, "no weights: its keys are epoch (int), optimizer (dict of dict, list)"),
    ],
)
def test_content_without_weights_is_refused(content: object, said: str) -> None:
    with pytest.raises(CheckpointError, match=re.escape(said)):
        find_weights(content)


@given(
    wrappers=st.lists(st.sampled_from(["module", "model", "_orig_mod"]), max_size=4),
    nesting=st.lists(st.sampled_from(["state_dict", "model_state_dict", "model", "net", "weights"]), max_size=3),
    dtype=st.sampled_from([torch.float32, torch.float16, torch.bfloat16]),
)
def test_any_stack_of_wrappers_and_keys_is_read(wrappers: list[str], nesting: list[str], dtype: torch.dtype) -> None:
    prefix = "".join(f"{wrapper}." for wrapper in wrappers)
    content: dict[str, object] = {prefix + key: value.to(dtype) for key, value in WEIGHTS.items()}
    for key in nesting:
        content = {"epoch": 1, key: content, "optimizer": OPTIMIZER}
    weights = find_weights(content)
    *_, (bare, notes) = without_prefixes(weights.content)  # type: ignore[arg-type]
    assert list(bare) == list(WEIGHTS)
    assert len(weights.notes) == len(nesting)
    assert len(notes) == len(wrappers)


def test_every_state_of_undress_is_given_as_saved_first() -> None:
    state: dict[str, Tensor] = {"module.model.0.weight": torch.ones(1), "module.model.2.weight": torch.ones(1)}
    keys = [list(candidate) for candidate, _ in without_prefixes(state)]
    assert keys == [
        ["module.model.0.weight", "module.model.2.weight"],
        ["model.0.weight", "model.2.weight"],
        ["0.weight", "2.weight"],
    ]


@pytest.mark.parametrize("keys", [["classifier.weight", "classifier.bias"], ["0.weight", "0.bias"]])
def test_the_name_of_a_layer_is_no_prefix(keys: list[str]) -> None:
    assert len(list(without_prefixes(dict.fromkeys(keys, 1)))) == 1


def test_the_counter_of_an_averaged_model_is_dropped() -> None:
    *_, (bare, _) = without_prefixes({"n_averaged": 5, "module.0.weight": 1})
    assert bare == {"0.weight": 1}
