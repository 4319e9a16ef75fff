"""Layers that run one after another, each under the path of its keys in the checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

__all__ = ["GAPS", "Chain", "Head", "HeadLayer", "make_head", "paper_head"]


class Chain(nn.Module):
    """Layers that run in order; their paths (``features.0``, ``fc1``) give the keys of the state dict.

    Args:
        steps: (path, layer). Paths are unique, and none is a prefix of another.
    """

    def __init__(self, steps: Sequence[tuple[str, nn.Module]]) -> None:
        super().__init__()
        self._paths = tuple(path for path, _ in steps)
        for path, layer in steps:
            _register(self, path, layer)

    def forward(self, images: Tensor) -> Tensor:
        """Run the layers one after the other."""
        result = images
        for path in self._paths:
            # Looked up at each call, so that a layer that was replaced by its quantized form takes effect.
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


# The layers without weights between a Linear (or its BatchNorm) and the next one, by their number.
GAPS: dict[int, tuple[Callable[[], nn.Module], ...]] = {
    0: (),
    1: (lambda: nn.ReLU(inplace=True),),
    2: (lambda: nn.ReLU(inplace=True), lambda: nn.Dropout(0.5)),
}
# The layers before the first Linear: none that changes flattened features in eval mode.
_LEADING: dict[int, tuple[Callable[[], nn.Module], ...]] = {
    0: (),
    1: (lambda: nn.Dropout(0.5),),
    2: (nn.Flatten, lambda: nn.Dropout(0.5)),
}


@dataclass(frozen=True)
class HeadLayer:
    """A layer with weights.

    Attributes:
        name: its name in the Sequential, "3" or "add_linear"; "" if the classifier is this one layer.
        in_features: equal to out_features for a BatchNorm1d.
    """

    name: str
    in_features: int
    out_features: int
    bias: bool = True
    batch_norm: bool = False

    def build(self) -> nn.Module:
        """Create the layer with random weights."""
        if self.batch_norm:
            return nn.BatchNorm1d(self.out_features)
        return nn.Linear(self.in_features, self.out_features, bias=self.bias)


@dataclass(frozen=True)
class Head:
    """The layers with weights, in order."""

    layers: tuple[HeadLayer, ...]

    def __post_init__(self) -> None:
        if not self.layers:
            raise ValueError("a head has at least one layer")
        for before, after in zip(self.layers, self.layers[1:], strict=False):
            if before.out_features != after.in_features:
                raise ValueError(f"{after.name} takes {after.in_features} numbers, {before.name} gives another count")
        if any(gap not in table for gap, table in _gaps(self.layers)):
            raise ValueError("the gaps between the indices are larger than anything known")
        # After a ReLU and a BatchNorm the next gap would hold another layer: a Dropout rather than a ReLU.
        if any(layer.batch_norm and gap for layer, (gap, _) in zip(self.layers, _gaps(self.layers), strict=True)):
            raise ValueError("a BatchNorm follows its Linear at the next index")
        if self.layers[0].batch_norm:
            raise ValueError("a head starts with a Linear")
        if any(not layer.name.isdigit() for layer in self.layers[:-1]):
            raise ValueError("only the last layer has a name: between named layers no index tells what lies there")

    @property
    def in_features(self) -> int:
        return self.layers[0].in_features

    @property
    def num_classes(self) -> int:
        return self.layers[-1].out_features

    @property
    def dropout_first(self) -> bool:
        return self.layers[0].name not in ("", "0")


def paper_head(in_features: int, num_classes: int, *, hidden: int = 4096, dropout_first: bool = False) -> Head:
    """Three Linear layers, at indices 0, 3, 6 (torchvision) or, with a Dropout before each, 1, 4, 7 (the paper)."""
    widths = (in_features, hidden, hidden, num_classes)
    return Head(tuple(HeadLayer(str(3 * i + dropout_first), widths[i], widths[i + 1]) for i in range(len(widths) - 1)))


def make_head(head: Head) -> nn.Module:
    """Build the classifier: a Sequential with the names of the layers, or the only Linear itself."""
    if head.layers[0].name == "":
        return head.layers[0].build()
    sequential = nn.Sequential()
    for layer, (gap, table) in zip(head.layers, _gaps(head.layers), strict=True):
        for filling in table[gap]:
            sequential.add_module(str(len(sequential)), filling())
        sequential.add_module(layer.name, layer.build())
    return sequential


def _gaps(layers: tuple[HeadLayer, ...]) -> Iterator[tuple[int, dict[int, tuple[Callable[[], nn.Module], ...]]]]:
    """For each layer, how many layers without weights precede it, and the table that lists them."""
    expected, table = 0, _LEADING
    for layer in layers:
        # A layer with a name was appended by hand, right after the one before it as far as keys can tell.
        index = int(layer.name) if layer.name.isdigit() else expected
        yield index - expected, table
        expected, table = index + 1, GAPS
