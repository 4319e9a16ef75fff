"""A network whose convolutions and linear layers are products of smaller ones, fitted to images of its own kind."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from vgg_models.compression.convolution import ConvolutionFactorization
from vgg_models.compression.gradients import effects_of_ranks, importance_of_responses
from vgg_models.compression.linear import LinearFactorization
from vgg_models.compression.moments import shrunk_least_squares
from vgg_models.compression.projection import Projection
from vgg_models.compression.ranks import LayerOptions, Ranks, allocate
from vgg_models.compression.rotation import rotate_factors
from vgg_models.costs import layer_table

__all__ = ["Cost", "LowRankNetwork", "OnProgress"]

OnProgress = Callable[[str, int, int], None]


class LayerFactorization(Protocol):
    """What the images show of one layer, and the factors that follow from it."""

    def __init__(self, layer: Any, images: int) -> None: ...
    @staticmethod
    def accepts(layer: Any) -> bool: ...
    def positions(self, outputs: Tensor, generator: torch.Generator) -> Any: ...
    def rows(self, outputs: Tensor, positions: Any) -> Tensor: ...
    def all_rows(self, outputs: Tensor) -> Tensor: ...
    def add(self, inputs: Tensor, positions: Any) -> None: ...
    def cost(self, rank: int | None) -> tuple[int, int]: ...
    def projection(self, importance: Tensor) -> Projection: ...
    def factors(self, projection: Projection) -> nn.Sequential: ...


@dataclass(frozen=True)
class _Kind:
    """How layers of one type are factorized.

    Attributes:
        max_images: that they are measured on.
        max_refit_images: that their last factor is fitted to; an image has many places where a convolution looks.
    """

    factorization: type[LayerFactorization]
    max_images: int
    max_refit_images: int


FACTORIZATIONS: dict[type[nn.Module], _Kind] = {
    nn.Conv2d: _Kind(ConvolutionFactorization, max_images=200, max_refit_images=64),
    nn.Linear: _Kind(LinearFactorization, max_images=2000, max_refit_images=2000),
}

# Images, at most, whose gradients say what matters in the responses of a layer; and others, at most a quarter of all,
# that say what each rank changes in the network's outputs.
IMPORTANCE_IMAGES, EFFECT_IMAGES = 200, 64

# In units of the mean variance of what the last factor gets.
REFIT_RIDGE = 1e-3


@dataclass(frozen=True)
class Cost:
    """Of a network: multiply-accumulates for one image, and parameters."""

    macs: int
    parameters: int


@dataclass
class _Layer:
    """A layer of the original network.

    Attributes:
        images: how many images it is measured on.
        answers: (positions, responses) for each batch of those that its last factor is fitted to.
    """

    factorization: LayerFactorization
    images: int
    answers: list[tuple[Any, Tensor]]


class LowRankNetwork:
    """The low-rank networks that stand for a network on images like those it is shown.

    The network runs once over the images, and over some of them for gradients. :meth:`ranks` then chooses ranks for a
    budget, and :meth:`build` makes the network of these ranks. Every ``nn.Conv2d`` of one group and every ``nn.Linear``
    that runs once in a forward pass is factorized where that makes it cheaper; everything else stays.

    Args:
        module: takes float32 (N, channels, height, width) and can be differentiated; in eval mode, on the CPU. It stays
            as it is.
        images: batches of inputs. They are iterated over several times, as a list or a ``DataLoader`` can be.
        seed: for the places where layers are compared, the signs of gradients, and rotations.
        on_progress: called with what is being done, and how many of how many parts of it are.

    Examples:
        >>> import torch
        >>> from vgg_models import LowRankNetwork, load_model
        >>> network = load_model("slim_vgg.pth").module
        >>> images = [torch.randn(32, 1, 28, 28)]  # stands for a list or a DataLoader of real images
        >>> low_rank = LowRankNetwork(network, images)
        >>> ranks = low_rank.ranks(speedup=3)
        >>> low_rank.cost({}).macs, low_rank.cost(ranks).macs < low_rank.cost({}).macs / 3
        (29275904, True)
        >>> smaller = low_rank.build(ranks)
        >>> smaller(torch.randn(5, 1, 28, 28)).shape
        torch.Size([5, 10])
    """

    def __init__(
        self,
        module: nn.Module,
        images: Iterable[Tensor],
        *,
        seed: int = 0,
        on_progress: OnProgress = lambda *_: None,
    ) -> None:
        self._module = module
        self._images = images
        self._seed = seed
        self._on_progress = on_progress
        count = sum(map(len, images))
        # How many images layers are measured on; the rest stay fresh, to tell what ranks do to the outputs.
        self._observed = count - min(EFFECT_IMAGES, count // 4)
        with torch.no_grad():
            self._layers = self._observe()
            self._projections = self._project()
        channels, height, width = next(iter(images)).shape[1:]
        table = layer_table(module, (channels, height, width))
        observed = [layer.factorization.cost(None) for layer in self._layers.values()]
        self._rest = Cost(
            table.macs - sum(macs for macs, _ in observed), table.parameters - sum(w for _, w in observed)
        )
        self._total = Cost(table.macs, table.parameters)

    def cost(self, ranks: Ranks) -> Cost:
        """Return what the network of these ranks costs; a layer that is not named stays as it is."""
        costs = [layer.factorization.cost(ranks.get(name)) for name, layer in self._layers.items()]
        return Cost(self._rest.macs + sum(m for m, _ in costs), self._rest.parameters + sum(w for _, w in costs))

    def ranks(self, *, speedup: float) -> Ranks:
        """Choose the ranks that lose least where multiply-accumulates are divided by ``speedup``.

        What is saved in weights counts as much as what is saved in multiply-accumulates.
        """
        return allocate(self._options, lambda ranks: self.cost(ranks).macs * speedup <= self._total.macs)

    def build(self, ranks: Ranks, *, refit: bool = True) -> nn.Module:
        """Return the network of these ranks.

        Args:
            refit: fit the last factor of each layer to what the layers before it give once they are factorized, so that
                it corrects their errors (the asymmetric reconstruction of Zhang et al., 2016). It takes one pass over
                the images per layer, as far as that layer.
        """
        # The weights are shared with the original: only what is factorized is new.
        network = copy.deepcopy(self._module, {id(tensor): tensor for tensor in self._module.parameters()})
        generator = torch.Generator().manual_seed(self._seed)
        with torch.no_grad():
            for done, (name, layer) in enumerate(self._layers.items()):
                self._on_progress("factorizing the layers", done, len(self._layers))
                if (rank := ranks.get(name)) is None:
                    continue
                factors = layer.factorization.factors(self._projections[name].first(rank))
                if refit:
                    self._refit(factors, layer, network, network.get_submodule(name))
                rotate_factors(factors, generator)
                network.set_submodule(name, factors)
        return network

    @cached_property
    def _options(self) -> dict[str, LayerOptions]:
        """The ranks that each layer may have."""
        self._on_progress("measuring what ranks change", 0, 1)
        effects = effects_of_ranks(
            self._module,
            self._projections,
            {name: self._layers[name].factorization.all_rows for name in self._projections},
            self._between(self._observed, self._observed + EFFECT_IMAGES),
            torch.Generator().manual_seed(self._seed),
        )

        def price(layer: LayerFactorization, rank: int | None) -> float:
            macs, weights = layer.cost(rank)
            return macs / self._total.macs + weights / self._total.parameters

        return {
            name: LayerOptions.of(losses, partial(price, self._layers[name].factorization))
            for name, losses in effects.items()
        }

    def _observe(self) -> dict[str, _Layer]:
        """Run the original over the images, and keep of each layer what its factorization needs."""
        names = _factorizable_layers(self._module)
        observed: dict[str, _Layer] = {}
        generator = torch.Generator().manual_seed(self._seed)
        ran: set[nn.Module] = set()
        reused: set[str] = set()
        seen = 0

        def observe(layer: nn.Module, inputs: tuple[Tensor, ...], outputs: Tensor) -> None:
            name = names[layer]
            if layer in ran:
                reused.add(name)
            ran.add(layer)
            if name not in observed:
                kind = FACTORIZATIONS[type(layer)]
                count = min(self._observed, kind.max_images)
                observed[name] = _Layer(kind.factorization(layer, count), count, [])
            entry = observed[name]
            if seen < entry.images and name not in reused:
                positions = entry.factorization.positions(outputs, generator)
                entry.factorization.add(inputs[0], positions)
                if seen < FACTORIZATIONS[type(layer)].max_refit_images:
                    entry.answers.append((positions, entry.factorization.rows(outputs, positions)))

        with ExitStack() as hooks:
            for layer in names:
                hooks.callback(layer.register_forward_hook(observe).remove)
            most = max((FACTORIZATIONS[type(layer)].max_images for layer in names), default=0)
            count = min(self._observed, most)
            for batch in self._between(0, count):
                self._on_progress("measuring the layers", seen, count)
                self._module(batch)
                seen += len(batch)
                ran.clear()
        return {name: layer for name, layer in observed.items() if name not in reused}

    def _project(self) -> dict[str, Projection]:
        """Find the directions that matter in the responses of each layer on which outputs depend."""
        self._on_progress("measuring what matters to the outputs", 0, 1)
        importance = importance_of_responses(
            self._module,
            {name: layer.factorization.all_rows for name, layer in self._layers.items()},
            self._between(0, min(self._observed, IMPORTANCE_IMAGES)),
            torch.Generator().manual_seed(self._seed),
        )
        return {name: self._layers[name].factorization.projection(each) for name, each in importance.items()}

    def _between(self, start: int, stop: int) -> Iterator[Tensor]:
        """Yield batches of the images ``start`` to ``stop``."""
        seen = 0
        for batch in self._images:
            part = batch[max(0, start - seen) : max(0, stop - seen)]
            seen += len(batch)
            if len(part):
                yield part
            if seen >= stop:
                return

    def _refit(self, factors: nn.Sequential, layer: _Layer, network: nn.Module, place: nn.Module) -> None:
        """Fit the last of ``factors``, which are to stand at ``place`` in ``network``, to the original's answers."""
        *first, last = factors
        inner, wanted = [], []
        for batch, (positions, answers) in zip(self._between(0, self._observed), layer.answers, strict=False):
            outputs = nn.Sequential(*first)(_inputs_of(place, network, batch))
            inner.append(layer.factorization.rows(outputs, positions))
            wanted.append(answers)
        rows, answers = torch.cat(inner), torch.cat(wanted)
        centered = rows - rows.mean(0)
        weight, bias = last.get_parameter("weight"), last.get_parameter("bias")
        fitted = shrunk_least_squares(
            centered.T @ centered / len(rows), centered.T @ answers / len(rows), weight.flatten(1).T, ridge=REFIT_RIDGE
        )
        weight.data = fitted.T.reshape(weight.shape).contiguous()
        bias.data = answers.mean(0) - rows.mean(0) @ fitted


def _factorizable_layers(module: nn.Module) -> dict[nn.Module, str]:
    """Return the layers of exactly a known type, with one name and no hook that changes what they do."""
    names: dict[nn.Module, list[str]] = {}
    for name, layer in module.named_modules(remove_duplicate=False):
        names.setdefault(layer, []).append(name)
    return {
        layer: names[layer][0]
        for layer in names
        if type(layer) in FACTORIZATIONS
        and FACTORIZATIONS[type(layer)].factorization.accepts(layer)
        and not (layer._forward_pre_hooks or layer._forward_hooks)
        and len(names[layer]) == 1
    }


class _LayerReached(Exception):  # noqa: N818 - ends a forward pass early, no error
    pass


def _inputs_of(layer: nn.Module, network: nn.Module, batch: Tensor) -> Tensor:
    """Run ``network`` as far as ``layer``, and return what that gets."""
    inputs: list[Tensor] = []

    def stop(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        inputs.append(arguments[0])
        raise _LayerReached

    handle = layer.register_forward_pre_hook(stop)
    try:
        network(batch)
    except _LayerReached:
        pass
    finally:
        handle.remove()
    return inputs[0]
