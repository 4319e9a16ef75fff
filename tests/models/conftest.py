"""Models as users have them: saved to a file, their class gone when it is read."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

SaveForgotten = Callable[[nn.Module], Path]


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[object], Path]:
    """Save an object with torch.save."""

    def save(content: object) -> Path:
        path = tmp_path / "checkpoint.pth"
        torch.save(content, path)
        return path

    return save


@pytest.fixture
def saved_by_a_stranger(tmp_path: Path) -> Iterator[SaveForgotten]:
    """Save a whole module, its own class and those inside it belonging to a module that no longer exists."""

    def save(module: nn.Module) -> Path:
        stranger = ModuleType("their_training_script")
        classes = {type(layer) for layer in module.modules() if not type(layer).__module__.startswith("torch.")}
        for cls in classes:
            cls.__module__, cls.__qualname__ = stranger.__name__, cls.__name__
            setattr(stranger, cls.__name__, cls)
        sys.modules[stranger.__name__] = stranger
        path = tmp_path / "whole.pth"
        torch.save(module, path)
        del sys.modules[stranger.__name__]
        return path

    yield save
    assert "their_training_script" not in sys.modules  # nothing imported it
