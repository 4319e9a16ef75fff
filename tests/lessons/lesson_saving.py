"""The ways in which owners save what they trained."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

__all__ = ["SAVED_AS", "STRANGER", "class_not_at_hand", "training_loops"]

STRANGER = "their_training_script"


@contextmanager
def class_not_at_hand(module: nn.Module) -> Iterator[None]:
    """What is saved within names the module's own classes as those of a script that does not exist afterwards."""
    stranger = ModuleType(STRANGER)
    classes = {type(layer) for layer in module.modules() if not type(layer).__module__.startswith("torch.")}
    homes = {cls: (cls.__module__, cls.__qualname__) for cls in classes}
    for cls in classes:
        cls.__module__, cls.__qualname__ = STRANGER, cls.__name__
        setattr(stranger, cls.__name__, cls)
    sys.modules[STRANGER] = stranger
    try:
        yield
    finally:
        del sys.modules[STRANGER]
        for cls, home in homes.items():
            cls.__module__, cls.__qualname__ = home


def training_loops(weights: dict[str, Tensor]) -> dict[str, object]:
    """What training loops and frameworks make of the weights."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1, momentum=0.9).state_dict()
    average = {key: value + 1 for key, value in weights.items()}

    def prefixed(prefix: str) -> dict[str, Tensor]:
        return {prefix + key: value for key, value in weights.items()}

    return {
        "loop": {"model": weights, "optimizer": optimizer, "epoch": 7, "best": 0.9},
        "Lightning": {"state_dict": prefixed("model."), "optimizer_states": [optimizer], "epoch": 7},
        "DataParallel": {"state_dict": prefixed("module.")},
        "EMA beside": {"model": weights, "model_ema": average},
        "compiled": prefixed("_orig_mod."),
    }


def _state_dict(module: nn.Module, path: Path) -> None:
    torch.save(module.state_dict(), path)


def _whole_module(module: nn.Module, path: Path) -> None:
    with class_not_at_hand(module):
        torch.save(module, path)


def _whole_module_on_cuda(module: nn.Module, path: Path) -> None:
    """As a machine with a GPU writes it: every tensor says that it belongs on cuda:0."""
    with patch("torch.serialization.location_tag", lambda storage: "cuda:0"):
        _whole_module(module, path)


def _safetensors(module: nn.Module, path: Path) -> None:
    save_file(module.state_dict(), path)


def _loop(kind: str) -> Callable[[nn.Module, Path], None]:
    return lambda module, path: torch.save(training_loops(module.state_dict())[kind], path)


# the name of the way: (the name of the file, what writes it)
SAVED_AS: dict[str, tuple[str, Callable[[nn.Module, Path], None]]] = {
    "state dict": ("net.pth", _state_dict),
    "safetensors": ("net.safetensors", _safetensors),
    "whole module": ("net.pt", _whole_module),
    "whole module on CUDA": ("net.pt", _whole_module_on_cuda),
    "training loop": ("last.pth", _loop("loop")),
    "Lightning": ("last.ckpt", _loop("Lightning")),
    "DataParallel": ("net.pth", _loop("DataParallel")),
    "EMA beside": ("last.pth", _loop("EMA beside")),
    "compiled": ("net.pth", _loop("compiled")),
}
