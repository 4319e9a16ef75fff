"""The known network that a refused state dict resembles most, for the message."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from vgg_models.architectures.torchvision import empty_torchvision
from vgg_models.architectures.torchvision_families import count_trunk_keys, family_of
from vgg_models.architectures.vgg import VGG_NAMES, build_vgg
from vgg_models.recognition.torchvision_networks import Shapes, head_paths, outside
from vgg_runtime._internal.shortening import listed

__all__ = ["describe_nearest"]

_LEAST_SHARE = 0.5
_SHOWN = 3


@dataclass(frozen=True)
class _Network:
    """A network that can be built by name, with the classes of the state dict.

    Attributes:
        shapes: the shapes of all its keys.
        head_paths: paths at which another head may be.
    """

    title: str
    shapes: Shapes
    head_paths: tuple[str, ...]

    def share(self, shapes: Shapes) -> float:
        """The share of (key, shape) pairs in both among those in either."""
        common = len(self.shapes.items() & shapes.items())
        return common / len(self.shapes.keys() | shapes.keys())


def describe_nearest(state: Mapping[str, Tensor]) -> str:
    """Return sentences on the nearest network and the differences; empty if none has half of its keys in common."""
    shapes = _shapes(state, state)
    networks = [*_torchvision_networks(state), *_vggs(state)]
    nearest = max(networks, key=lambda network: network.share(shapes), default=None)
    if nearest is None:
        return ""
    for path in nearest.head_paths:
        if outside(path, nearest.shapes) == outside(path, shapes):
            return _describe_head(nearest, path, shapes)
    return _describe_differences(nearest, shapes) if nearest.share(shapes) >= _LEAST_SHARE else ""


def _torchvision_networks(state: Mapping[str, Tensor]) -> Iterator[_Network]:
    family, count = family_of(state), count_trunk_keys(state)
    if family is None:
        return
    closest = min(abs(keys - count) for keys in family.networks.values())
    for name, keys in family.networks.items():
        if abs(keys - count) == closest:
            module = empty_torchvision(name, state)
            yield _Network(f"torchvision's {name}", _shapes(module.state_dict(), state), tuple(head_paths(module)))


def _vggs(state: Mapping[str, Tensor]) -> Iterator[_Network]:
    if "features.0.weight" not in state:
        return
    for name in VGG_NAMES:
        with torch.device("meta"):
            module = build_vgg(name)
        yield _Network(name, _shapes(module.state_dict(), state), ("classifier",))


def _shapes(of: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> Shapes:
    """The shape of each key; BatchNorm's counters only if the state dict has them."""
    counted = any(key.endswith(".num_batches_tracked") for key in state)
    return {key: tuple(value.shape) for key, value in of.items() if counted or not key.endswith(".num_batches_tracked")}


def _describe_head(network: _Network, path: str, shapes: Shapes) -> str:
    trunk = outside(path, shapes)
    head = [f"{key} {shape}" for key, shape in shapes.items() if key not in trunk]
    return (
        f"It is {network.title} with another head: {listed(head, most=_SHOWN)}. What runs between the layers of that "
        "head can't be read off their keys."
    )


def _describe_differences(network: _Network, shapes: Shapes) -> str:
    common = network.shapes.items() & shapes.items()
    misshapen = [
        f"{key} {shape} instead of {network.shapes[key]}"
        for key, shape in shapes.items()
        if key in network.shapes and shape != network.shapes[key]
    ]
    differences = (
        ("missing", [key for key in network.shapes if key not in shapes]),
        ("unexpected", [key for key in shapes if key not in network.shapes]),
        ("of another shape", misshapen),
    )
    kinds = "".join(f"; {kind}: {listed(keys, most=_SHOWN)}" for kind, keys in differences if keys)
    return (
        f"The nearest known network is {network.title} ({len(network.shapes)} keys): {len(common)} of the "
        f"{len(shapes)} keys here have the same name and shape{kinds}."
    )
