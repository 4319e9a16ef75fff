from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from lesson_saving import STRANGER
from torch import nn

from vgg_models import load_model
from vgg_models.architectures import class_source
from vgg_models.architectures.class_source import find_class_source
from vgg_runtime.errors import ArchitectureError

FLOWER_NET = """
raise AssertionError("a file beside a checkpoint is never imported")

class Net:
    pass

class FlowerNet:
    def __init__(self, size, /, width=3, *names, classes, pretrained=False, **others):
        pass
"""


class FlowerNet(nn.Module):
    """Two branches: the order in which ``forward`` runs them is not in the file."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.top = nn.Conv2d(1, 2, 3), nn.Conv2d(1, 2, 3), nn.Linear(4, 2)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("module", ["flowers", "__main__", "nets.flowers", "/etc.flowers"])
def test_a_class_is_found_whatever_module_the_pickle_names(folder: Path, module: str) -> None:
    (folder / "a_broken_file.py").write_text("class FlowerNet(:")
    (folder / "a_binary_file.py").write_bytes(b"\0\xff")
    (folder / "train_flowers.py").write_text(FLOWER_NET)
    source = find_class_source(module, "FlowerNet", (Path(),))
    assert source is not None
    assert (source.module, source.required) == ("train_flowers", ("size", "classes"))
    assert source.option == "`model='train_flowers:FlowerNet(size=..., classes=...)'`"


def test_the_file_that_the_pickle_names_goes_first(folder: Path) -> None:
    (folder / "nets").mkdir()
    for name in ("a.py", "nets/flowers.py"):
        (folder / name).write_text(FLOWER_NET)
    source = find_class_source("nets.flowers", "FlowerNet", (Path(),))
    assert source is not None
    assert source.module == "nets.flowers"


def test_a_class_without_arguments_needs_no_parentheses(folder: Path) -> None:
    (folder / "flowers.py").write_text(FLOWER_NET)
    source = find_class_source("flowers", "Net", (Path(),))
    assert source is not None
    assert source.option == "`model='flowers:Net'`"


def test_files_beyond_the_limits_are_left_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "flowers.py").write_text(FLOWER_NET)
    assert find_class_source("__main__", "Rose", (Path(), folder / "nowhere")) is None
    monkeypatch.setattr(class_source, "_MAX_BYTES", len(FLOWER_NET) - 1)
    assert find_class_source("__main__", "FlowerNet", (Path(),)) is None


def test_the_missing_class_is_named_and_its_line_given(folder: Path, saved_by_a_stranger) -> None:
    path = saved_by_a_stranger(FlowerNet())
    (folder / "flowers.py").write_text(FLOWER_NET)
    with pytest.raises(ArchitectureError, match=rf"the class {STRANGER}\.FlowerNet is not in the checkpoint") as caught:
        load_model(path)
    line = "flowers.py defines FlowerNet: `model='flowers:FlowerNet(size=..., classes=...)'`."
    assert caught.value.hint.startswith(line)
    assert "flowers" not in sys.modules


def test_a_class_beside_the_checkpoint_is_used_in_that_folder(
    folder: Path, saved_by_a_stranger, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved_by_a_stranger(FlowerNet())
    (folder / "flowers.py").write_text(FLOWER_NET)
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    with pytest.raises(ArchitectureError) as caught:
        load_model(path)
    assert f", in the folder {folder.resolve()}." in caught.value.hint


def test_a_script_is_said_to_run_when_imported(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "train.py").write_text(FLOWER_NET)
    monkeypatch.setattr(FlowerNet, "__module__", "__main__")
    monkeypatch.setattr(sys.modules["__main__"], "FlowerNet", FlowerNet, raising=False)
    torch.save(FlowerNet(), folder / "whole.pt")
    with pytest.raises(ArchitectureError, match=r"the class __main__\.FlowerNet") as caught:
        load_model(folder / "whole.pt")
    assert "train.py defines FlowerNet: `model='train:FlowerNet(" in caught.value.hint
    assert "Importing it runs what is at its top level" in caught.value.hint
