"""Build tensors and modules from descriptions, once everything that is described has been checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from vgg_models.checkpoint.descriptions import (
    MAX_TENSORS,
    STATE_DICT_HINT,
    ObjectDescription,
    Placeholder,
    TensorDescription,
)
from vgg_models.checkpoint.pickled_names import torch_layer
from vgg_runtime.errors import CheckpointError

__all__ = ["Builder", "StubModule", "is_stub"]


T = TypeVar("T")

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
        self._built: dict[int, Any] = {}  # by id: all descriptions are there before the first is replaced

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
            return _instance(value.name, self.build(value.state))
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


def _instance(name: str, state: Any) -> nn.Module | Placeholder:
    """An instance with that state, made without a call of its class, which could allocate any amount."""
    module, _, attribute = name.rpartition(".")
    is_module = isinstance(state, dict) and "_modules" in state
    layer = torch_layer(name)
    if layer is None and not is_module:  # an object of the user's, which is not needed
        return _subclass(Placeholder, attribute)()
    if not is_module or (layer is not None and issubclass(layer, nn.RNNBase) and state["num_layers"] > MAX_TENSORS):
        # As often as num_layers says, RNNBase.__setstate__ makes names.
        raise CheckpointError(f"a {attribute} of the checkpoint has a state that no layer has.", hint=STATE_DICT_HINT)
    cls = layer or _subclass(StubModule, attribute, module)
    instance = cls.__new__(cls)
    instance.__setstate__(state)  # type: ignore[no-untyped-call]
    return instance


def _subclass(base: type[T], name: str, module: str = __name__) -> type[T]:
    """A class of that name, since messages call an object by the name of its class."""
    return type(name, (base,), {"__module__": module})
