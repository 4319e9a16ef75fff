from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from vgg_models.checkpoint.container import Container, detect_container
from vgg_runtime.errors import CheckpointError


def _png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (2, 2)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["weights.pth", "weights.onnx", "weights"])
def test_the_content_decides_and_not_the_name(tmp_path: Path, name: str) -> None:
    torch.save({"a": torch.ones(1)}, tmp_path / name)
    assert detect_container(tmp_path / name) is Container.TORCH_ZIP


def test_the_container_of_torch_1_5_is_told(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert detect_container(tmp_path / "old.pth") is Container.TORCH_LEGACY


def test_safetensors_is_told(tmp_path: Path) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "weights")
    assert detect_container(tmp_path / "weights") is Container.SAFETENSORS


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_is_told(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.trace(nn.Linear(1, 1), torch.ones(1, 1)), tmp_path / "archive.pt")
    assert detect_container(tmp_path / "archive.pt") is Container.TORCHSCRIPT


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty (0 bytes)"),
        (b"hello, these are no weights\n", "is a text file"),
        (b"\n <!DOCTYPE html><html>Sign in</html>", "is an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git-lfs pointer"),
        (json.dumps({"weights": 1}).encode(), "is a JSON file"),
        (_png(), "is a PNG image"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "Keras"),
        (b"\x80\x04\x95\x00", "a plain Python pickle"),
        (bytes(range(128, 256)), "of an unknown kind (128 bytes)"),
        (b"PK\x03\x04" + bytes(60), "truncated or damaged zip"),
        (b"\x80\x00\x00\x00\x00\x00\x00\x00{", "a truncated safetensors file"),
    ],
)
def test_what_is_no_checkpoint_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "vgg16.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        detect_container(path)
    assert said in str(caught.value)
    assert caught.value.exit_code == 3


def test_a_zip_file_of_another_making_is_refused_by_its_entries(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        archive.writestr("weights/layer1.npy", b"")
    with pytest.raises(CheckpointError, match=r"layer1\.npy"):
        detect_container(tmp_path / "a.pth")


@pytest.mark.parametrize(("name", "said"), [("missing.pth", "No such file"), ("", "is a folder")])
def test_a_path_that_is_no_file_is_refused(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(CheckpointError, match=said):
        detect_container(tmp_path / name)
