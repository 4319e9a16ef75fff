"""What calls in a pickle describe, as torch.save writes them for tensors of every kind."""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vgg_models.checkpoint.container import Container
from vgg_models.checkpoint.reading import read_checkpoint
from vgg_models.checkpoint.torch_file import read_torch_file
from vgg_models.checkpoint.unpickling import describe_pickle
from vgg_runtime.errors import CheckpointError

Save = Callable[[object], Path]

GOOD = torch.arange(4.0).reshape(2, 2)


def content(path: Path) -> Any:
    return read_torch_file(path, Container.TORCH_ZIP).content


@pytest.mark.filterwarnings("ignore:.*quantiz.*")  # torch announces that it will drop them
@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda: GOOD.to("meta"), "meta"),
        (GOOD.to_sparse, "sparse"),
        (lambda: torch.quantize_per_tensor(GOOD, 1.0, 0, torch.qint8), "quantized"),
    ],
    ids=["meta", "sparse", "quantized"],
)
def test_a_tensor_of_another_kind_is_refused_by_name(saved: Save, make: Callable[[], Tensor], kind: str) -> None:
    with pytest.raises(CheckpointError, match=rf"0\.weight \({kind}"):
        read_checkpoint(saved({"0.weight": make(), "1.weight": GOOD}))


def test_a_conjugated_tensor_is_refused(saved: Save) -> None:
    path = saved({"0.weight": GOOD.to(torch.complex64).conj()})
    with pytest.raises(CheckpointError, match="a tensor is stored negated or conjugated"):
        read_checkpoint(path)


@pytest.mark.parametrize("dtype", [torch.uint16, torch.float16, torch.int64, torch.bool, torch.float8_e4m3fn])
def test_numbers_are_of_the_type_that_was_saved(saved: Save, dtype: torch.dtype) -> None:
    numbers = content(saved({"numbers": GOOD.to(dtype)}))["numbers"]
    assert numbers.dtype == dtype
    assert torch.equal(numbers.double(), GOOD.to(dtype).double())


@pytest.mark.parametrize("make", [lambda: nn.Parameter(GOOD), lambda: nn.Buffer(GOOD), lambda: GOOD[:, 1], GOOD.t])
def test_views_and_parameters_are_what_was_saved(saved: Save, make: Callable[[], Tensor]) -> None:
    expected = make()
    tensor = content(saved([expected]))[0]
    assert torch.equal(tensor, expected)
    assert tensor.stride() == expected.stride()
    assert isinstance(tensor, nn.Parameter) == isinstance(expected, nn.Parameter)


def test_a_parameter_with_attributes_is_read(saved: Save) -> None:
    parameter = nn.Parameter(GOOD)
    parameter.decay = False  # type: ignore[attr-defined]
    assert torch.equal(content(saved([parameter]))[0], GOOD)


class Call:
    """Saved as a call."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.reduced = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.reduced


LAYOUT = (GOOD._typed_storage(), 0, (2, 2), (2, 1))  # type: ignore[no-untyped-call]
HOOKS: OrderedDict[str, object] = OrderedDict()


@pytest.mark.parametrize(
    ("function", "arguments", "more"),
    [
        (torch._utils._rebuild_tensor, LAYOUT, 0),
        (torch._utils._rebuild_tensor_v2, (*LAYOUT, False, HOOKS), 1),
        (torch._utils._rebuild_tensor_v3, (*LAYOUT, False, HOOKS, torch.float32), 1),
        (torch._utils._rebuild_parameter, (GOOD, False, HOOKS), 0),
        (torch._utils._rebuild_parameter_with_state, (GOOD, False, HOOKS, {}), 0),
        (torch._utils._rebuild_device_tensor_from_cpu_tensor, (GOOD, torch.float32, "cpu", False), 0),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_call_has_the_arguments_that_torch_gives_it(
    saved: Save, function: Callable[..., object], arguments: tuple[object, ...], more: int
) -> None:
    assert torch.equal(content(saved([Call(function, *arguments)]))[0], GOOD)
    for wrong in (arguments[:-1], (*arguments, *[{}] * (more + 1))):
        with pytest.raises(TypeError, match="argument"):
            content(saved([Call(function, *wrong)]))


def test_a_size_is_a_tuple(saved: Save) -> None:
    assert content(saved(torch.Size([2, 3]))) == (2, 3)


def test_an_ordered_dict_of_python_2_has_its_pairs() -> None:
    pickled = b"\x80\x02ccollections\nOrderedDict\n](](X\x01\0\0\0bK\x01e](X\x01\0\0\0aK\x02ee\x85R."
    assert describe_pickle(io.BytesIO(pickled), "x.pth").content == OrderedDict(b=1, a=2)
