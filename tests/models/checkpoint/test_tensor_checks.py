from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from vgg_models.checkpoint.state_dict import clean_tensors
from vgg_runtime.errors import CheckpointError

GOOD = torch.ones(2, 2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats_become_float32_and_it_is_said(dtype: torch.dtype) -> None:
    clean, notes = clean_tensors({"a": GOOD.to(dtype), "b": GOOD, "n": torch.tensor(3)}, allow_nonfinite=False)
    assert [value.dtype for value in clean.values()] == [torch.float32, torch.float32, torch.int64]
    assert notes == (f"1 tensor cast from {str(dtype).removeprefix('torch.')} to float32",)


def test_float32_is_not_copied() -> None:
    clean, notes = clean_tensors({"a": GOOD}, allow_nonfinite=False)
    assert clean["a"].data_ptr() == GOOD.data_ptr()
    assert notes == ()


@pytest.mark.filterwarnings("ignore:.*quantiz.*")  # torch announces that it will drop them
@pytest.mark.parametrize(
    ("make", "fault"),
    [
        (lambda: torch.empty(2, device="meta"), "meta"),
        (GOOD.to_sparse, "sparse"),
        (lambda: GOOD.to(torch.complex64), "complex"),
        (lambda: torch.quantize_per_tensor(GOOD, 1.0, 0, torch.qint8), "quantized"),
        (lambda: 3.5, "a float, not a tensor"),
    ],
    ids=["meta", "sparse", "complex", "quantized", "number"],
)
def test_what_is_no_dense_real_tensor_is_refused_by_name(make: Callable[[], object], fault: str) -> None:
    with pytest.raises(CheckpointError, match=rf"features\.0\.weight \({fault}"):
        clean_tensors({"fine": GOOD, "features.0.weight": make()}, allow_nonfinite=False)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_nonfinite_weights_are_refused_unless_allowed(value: float) -> None:
    state: dict[str, Tensor] = {
        "fine": GOOD,
        "broken.weight": torch.tensor([1.0, value]),
        "broken.bias": torch.tensor(value),
    }
    with pytest.raises(CheckpointError, match=r"NaN or infinite: broken\.weight, broken\.bias") as caught:
        clean_tensors(state, allow_nonfinite=False)
    assert "`allow_nonfinite=True`" in caught.value.hint
    clean, notes = clean_tensors(state, allow_nonfinite=True)
    assert len(clean) == 3
    assert "broken.weight" in notes[0]


def test_a_float64_too_large_for_float32_is_not_finite() -> None:
    with pytest.raises(CheckpointError, match="a"):
        clean_tensors({"a": torch.tensor([1e300], dtype=torch.float64)}, allow_nonfinite=False)
