from __future__ import annotations

import re
import warnings
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from vgg_export.exporters import torchscript as module
from vgg_export.exporters.torchscript import torch2torchscript
from vgg_runtime.bundle.manifest import InputSpec
from vgg_runtime.errors import ArchitectureError, MissingCapabilityError


def load(file: Path, **options) -> torch.jit.ScriptModule:
    """As any user of PyTorch does it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.load(file, **options)


def batch(size: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=(size, 1, 8, 8)).astype(np.float32))


@pytest.mark.parametrize("size", [1, 2, 5])
def test_archive_gives_same_outputs_at_any_batch_size(
    small_network, input_spec: InputSpec, tmp_path: Path, size: int
) -> None:
    network = small_network()
    torch2torchscript(network, tmp_path / "model.pt", input_spec=input_spec, metadata={})
    with torch.no_grad():
        torch.testing.assert_close(load(tmp_path / "model.pt")(batch(size)), network(batch(size)))


def test_it_is_frozen_and_alone(small_network, input_spec: InputSpec, tmp_path: Path) -> None:
    torch2torchscript(small_network(), tmp_path / "model.pt", input_spec=input_spec, metadata={})
    assert not list(load(tmp_path / "model.pt").parameters())
    assert [file.name for file in tmp_path.iterdir()] == ["model.pt"]


def test_metadata_comes_back_as_extra_files(small_network, input_spec: InputSpec, tmp_path: Path) -> None:
    torch2torchscript(small_network(), tmp_path / "model.pt", input_spec=input_spec, metadata={"labels": "größe"})
    extra_files = {"labels": ""}
    load(tmp_path / "model.pt", _extra_files=extra_files)
    assert extra_files["labels"].decode() == "größe"


def test_bytes_do_not_depend_on_earlier_traces(small_network, input_spec: InputSpec, tmp_path: Path) -> None:
    for folder, before in ((tmp_path / "first", 0), (tmp_path / "second" / "deeper", 3)):
        folder.mkdir(parents=True)
        for _ in range(before):
            torch2torchscript(small_network(nn.Softmax(1)), folder / "other.pt", input_spec=input_spec, metadata={})
        torch2torchscript(small_network(), folder / "model.pt", input_spec=input_spec, metadata={"a": "b"})
    first, second = sorted(tmp_path.rglob("model.pt"))
    assert first.read_bytes() == second.read_bytes()


def test_no_trace_of_the_build_machine(small_network, input_spec: InputSpec, tmp_path: Path) -> None:
    torch2torchscript(small_network(), tmp_path / "model.pt", input_spec=input_spec, metadata={})
    with zipfile.ZipFile(tmp_path / "model.pt") as archive:
        assert archive.testzip() is None
        for entry in archive.infolist():
            assert entry.date_time == (1980, 1, 1, 0, 0, 0)
            assert not re.search(rb"/[\w.-]+/[\w.-]+\.py\b|site-packages|/home/|/root/", archive.read(entry))


def test_records_start_where_pytorch_can_map_them(small_network, input_spec: InputSpec, tmp_path: Path) -> None:
    torch2torchscript(small_network(), tmp_path / "model.pt", input_spec=input_spec, metadata={"odd": "x" * 37})
    data = (tmp_path / "model.pt").read_bytes()
    with zipfile.ZipFile(tmp_path / "model.pt") as archive:
        for entry in archive.infolist():
            name, extra = (int.from_bytes(data[entry.header_offset + i :][:2], "little") for i in (26, 28))
            assert (entry.header_offset + 30 + name + extra) % 64 == 0, entry.filename


def test_a_forward_that_fails_is_refused(tmp_path: Path) -> None:
    class Failing(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise ValueError("no such layer")

    with pytest.raises(ArchitectureError, match="cannot trace this network: no such layer"):
        torch2torchscript(Failing().eval(), tmp_path / "model.pt", input_spec=InputSpec((1, 1, 8, 8)), metadata={})
    assert not list(tmp_path.iterdir())


def test_full_disk_is_refused_before_pytorch_aborts(
    small_network, input_spec: InputSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "shutil", SimpleNamespace(disk_usage=lambda _: SimpleNamespace(free=1)))
    with pytest.raises(MissingCapabilityError, match="MB of disk"):
        torch2torchscript(small_network(), tmp_path / "model.pt", input_spec=input_spec, metadata={})
    assert not list(tmp_path.iterdir())
