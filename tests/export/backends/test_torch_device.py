from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from vgg_export.backends.torch_device import torch_device
from vgg_runtime.backends.base import CudaOptions, SessionConfig
from vgg_runtime.errors import MissingCapabilityError


@pytest.fixture(autouse=True)
def settings_as_before() -> Iterator[None]:
    """PyTorch has one of each for the whole process."""
    threads, cudnn, cublas = (
        torch.get_num_threads(),
        torch.backends.cudnn.allow_tf32,
        torch.backends.cuda.matmul.allow_tf32,
    )
    yield
    torch.set_num_threads(threads)
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = cudnn, cublas


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of them, as far as PyTorch is asked here."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this PyTorch has CUDA")
def test_without_cuda_it_is_the_cpu_or_an_error() -> None:
    assert torch_device(SessionConfig("auto", 1)) == torch_device(SessionConfig("cpu", 1)) == "cpu"
    with pytest.raises(MissingCapabilityError, match="CUDA is not available to this PyTorch"):
        torch_device(SessionConfig("cuda", 1))


@pytest.mark.usefixtures("gpus")
def test_with_cuda_it_is_the_gpu_of_the_index() -> None:
    assert torch_device(SessionConfig("auto", 1)) == torch_device(SessionConfig("cuda", 1)) == "cuda"
    assert torch_device(SessionConfig("cuda", 1, gpu=1)) == "cuda:1"
    assert torch_device(SessionConfig("cpu", 1)) == "cpu"
    with pytest.raises(MissingCapabilityError, match="there is no GPU 2: PyTorch sees 2, counted from 0"):
        torch_device(SessionConfig("cuda", 1, gpu=2))


@pytest.mark.usefixtures("gpus")
@pytest.mark.parametrize("tf32", [False, True])
def test_tf32_is_what_was_asked_for(tf32: bool) -> None:
    torch_device(SessionConfig("cuda", 1, cuda=CudaOptions(tf32=tf32)))
    assert torch.backends.cudnn.allow_tf32 is torch.backends.cuda.matmul.allow_tf32 is tf32
