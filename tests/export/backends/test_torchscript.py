from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vgg_export.backends.torchscript import TorchScriptBackend
from vgg_runtime.backends.base import SessionConfig
from vgg_runtime.errors import BundleError, OutOfMemoryError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.jit is deprecated


class Growing(nn.Module):
    def forward(self, batch: Tensor) -> Tensor:
        return batch.repeat(1 << 30, 1 << 20)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    torch.jit.script(nn.Linear(3, 2)).save(str(tmp_path / "model.pt"))
    return tmp_path / "model.pt"


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    """PyTorch has one setting for the whole process."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_a_damaged_archive_is_refused_by_name(archive: Path) -> None:
    archive.write_bytes(archive.read_bytes()[:-100])
    with pytest.raises(BundleError, match=f"{archive} cannot be loaded: File is not a zip file"):
        TorchScriptBackend(archive, SessionConfig("cpu", threads=1))


@pytest.mark.parametrize(("freeze", "entry"), [(False, "model/data/1"), (True, "model/constants/1")])
def test_a_storage_shorter_than_its_tensor_is_refused(tmp_path: Path, freeze: bool, entry: str) -> None:
    scripted = torch.jit.script(nn.Linear(3, 2).eval())
    whole, cut = tmp_path / "model.pt", tmp_path / "cut.pt"
    torch.jit.save(torch.jit.freeze(scripted) if freeze else scripted, whole)
    TorchScriptBackend(whole, SessionConfig("cpu", threads=1))
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(cut, "w") as target:
        for each in source.infolist():
            target.writestr(each.filename, b"" if each.filename == entry else source.read(each))
    with pytest.raises(BundleError, match=f"cannot be loaded: .* has 0 bytes in its entry {entry}"):
        TorchScriptBackend(cut, SessionConfig("cpu", threads=1))


def test_a_batch_that_does_not_fit_is_refused(archive: Path) -> None:
    backend = TorchScriptBackend(archive, SessionConfig("cpu", threads=1))
    with pytest.raises(BundleError, match=r"cannot run the model on a batch of shape \[1, 4\]"):
        backend.run(np.zeros((1, 4), np.float32))


def test_too_little_memory_for_a_batch_is_said(tmp_path: Path) -> None:
    torch.jit.script(Growing()).save(str(tmp_path / "model.pt"))
    backend = TorchScriptBackend(tmp_path / "model.pt", SessionConfig("cpu", threads=1))
    with pytest.raises(OutOfMemoryError, match="allocate memory"):
        backend.run(np.ones((1, 1), np.float32))
