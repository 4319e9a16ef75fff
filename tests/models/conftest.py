"""Models as users have them: saved to a file, their class gone when it is read."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from lesson_saving import STRANGER, class_not_at_hand
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
    """Save a whole module, its own class and those inside it belonging to a script that no longer exists."""

    def save(module: nn.Module) -> Path:
        path = tmp_path / "whole.pth"
        with class_not_at_hand(module):
            torch.save(module, path)
        return path

    yield save
    assert STRANGER not in sys.modules  # nothing imported it
