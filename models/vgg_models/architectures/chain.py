"""Layers that run one after another, each under the path that it was saved under."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

__all__ = ["Chain"]


class Chain(nn.Module):
    """Run the layers in order; their paths (``features.0``, ``fc1``) make the keys of the state dict.

    Args:
        steps: (path, layer). Paths are unique, and none is the beginning of another.
    """

    def __init__(self, steps: Sequence[tuple[str, nn.Module]]) -> None:
        super().__init__()
        self._paths = tuple(path for path, _ in steps)
        for path, layer in steps:
            _register(self, path, layer)

    def forward(self, images: Tensor) -> Tensor:
        result = images
        for path in self._paths:
            # Looked up each time, so that a layer which was swapped for its quantized form is the one that runs.
            result = self.get_submodule(path)(result)
        return result


def _register(root: nn.Module, path: str, layer: nn.Module) -> None:
    *parents, name = path.split(".")
    owner = root
    for parent in parents:
        if parent not in owner._modules:
            owner.add_module(parent, nn.Module())
        owner = owner.get_submodule(parent)
    owner.add_module(name, layer)
