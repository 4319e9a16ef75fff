"""Build tensors and modules from descriptions, once everything that is described has been checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from vgg_models.checkpoint.descriptions import (
    ObjectDescription,
    TensorDescription,
    listed,
)
from vgg_models.checkpoint.unpickling import torch_layer
from vgg_runtime.errors import CheckpointError

__all__ = ["Builder", "StubModule", "is_stub"]


# Tied weights are one view. Beside them, a checkpoint may hold a storage as a whole, and its parts as parameters.
_MAX_VIEWS = 4


class StubModule(nn.Module):
    """Replaces a user's class: keeps its children, parameters and attributes, but not its methods."""


def is_stub(module: nn.Module) -> bool:
    """Whether the module stands in for a class that is not available."""
    return isinstance(module, StubModule)


class Builder:
    """Builds each described object once, so that what was shared is shared again.

    Args:
        storages: the bytes of each storage, by its key; as many as it describes.
    """

    def __init__(self, storages: Mapping[str, torch.UntypedStorage]) -> None:
        self._storages = storages
        self._tensors: dict[TensorDescription, Tensor] = {}
        self._viewed: Counter[str] = Counter()
        self._built: dict[int, Any] = {}

    def build(self, value: Any) -> Any:
        """Return ``value`` with tensors and modules in the place of their descriptions. Dicts and lists are reused."""
        if isinstance(value, TensorDescription):
            return self._tensor(value)
        if not isinstance(value, Mapping | list | tuple | ObjectDescription):
            return value
        if id(value) not in self._built:
            self._built[id(value)] = self._container(value)
        return self._built[id(value)]

    def _container(self, value: Any) -> Any:
        if isinstance(value, ObjectDescription):
            return _module(value.name, self.build(value.state))
        if isinstance(value, tuple):
            return tuple(map(self.build, value))
        for key in range(len(value)) if isinstance(value, list) else value:
            value[key] = self.build(value[key])
        return value

    def _tensor(self, description: TensorDescription) -> Tensor:
        if description not in self._tensors:
            self._tensors[description] = self._view(description)
        return self._tensors[description]

    def _view(self, description: TensorDescription) -> Tensor:
        storage = description.storage
        tensor = torch.empty(0, dtype=description.dtype)
        tensor.set_(self._storages[storage.key], description.offset, description.shape, description.strides)
        self._viewed[storage.key] += tensor.nbytes
        if self._viewed[storage.key] > _MAX_VIEWS * storage.nbytes:
            raise CheckpointError(
                f"the tensors of the storage {storage.key} overlap: together they are more than {_MAX_VIEWS} times its "
                f"{storage.nbytes} bytes.",
                hint="Save .clone() of the tensors that share memory.",
            )
        return nn.Parameter(tensor, requires_grad=False) if description.is_parameter else tensor


def _module(name: str, state: Any) -> nn.Module:
    """An instance with that state, made without a call of its class, which could allocate any amount."""
    cls = torch_layer(name) or _stub_class(name)
    if not isinstance(state, dict):
        raise CheckpointError(f"a {cls.__name__} of the checkpoint has no attributes.", hint=_HINT)
    module = cls.__new__(cls)
    module.__setstate__(state)  # type: ignore[no-untyped-call]
    # What forward and repr read; __setstate__ adds what older versions of torch did not save.
    if missing := [key for key in getattr(cls, "__constants__", ()) if not hasattr(module, key)]:
        raise CheckpointError(f"a {cls.__name__} of the checkpoint lacks {listed(missing)}.", hint=_HINT)
    return module


_HINT = "Save the weights alone: torch.save(model.state_dict(), path), and give `model='MODULE:CALLABLE'`."


def _stub_class(name: str) -> type[nn.Module]:
    module, _, attribute = name.rpartition(".")
    return type(attribute, (StubModule,), {"__module__": module})
