"""What the responses of a layer mean to the network's outputs, by their gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from vgg_models.compression.projection import Projection

__all__ = ["effects_of_ranks", "importance_of_responses"]

# Images that run at once; a graph of gradients keeps all that layers gave.
BATCH_SIZE = 1

# Takes what a layer gave and the gradient to it, (N, ..., n) or (N, n, height, width), as (N, positions, n).
Rows = Callable[[Tensor], Tensor]


def importance_of_responses(
    module: nn.Module, layers: Mapping[str, Rows], images: Iterable[Tensor], generator: torch.Generator
) -> dict[str, Tensor]:
    """Return for each layer the mean of gg' over positions, where g is the gradient of outputs: float32 (n, n).

    Outputs are added up with random signs: the mean over signs of the gradient's square is the sum over outputs of
    theirs (Hutchinson, 1990).

    Args:
        module: in eval mode.
        layers: names of layers that run once, with the shape of their responses.
        images: batches of inputs.
        generator: for the signs.

    Returns:
        the layers on which outputs depend.
    """
    importance: dict[str, Tensor] = {}

    def see(name: str, _: Tensor, gradients: Tensor) -> None:
        rows = gradients.flatten(0, 1)
        if name not in importance:
            importance[name] = torch.zeros(rows.shape[1], rows.shape[1])
        importance[name].addmm_(rows.T, rows)

    _see_gradients(module, layers, images, generator, see)
    return {name: importance[name] for name in layers if name in importance}


def effects_of_ranks(
    module: nn.Module,
    projections: Mapping[str, Projection],
    layers: Mapping[str, Rows],
    images: Iterable[Tensor],
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """Return for each layer by how much outputs change where it keeps 0, 1, 2, ... directions: float32 (directions+1,).

    It is the mean square of the change to first order, in units of what the layer that matters most changes when
    nothing of it is kept; it never rises with the rank.

    Args:
        module: in eval mode.
        projections: of each layer.
        layers: as :func:`importance_of_responses` takes them.
        images: others than those that the projections were made for, which always fit them.
        generator: for the signs.
    """
    squares: dict[str, Tensor] = {}

    def see(name: str, responses: Tensor, gradients: Tensor) -> None:
        projection = projections[name]
        centered = responses - projection.mean
        kept = ((gradients @ projection.decode) * (centered @ projection.encode)).sum(1)
        whole = (gradients * centered).sum((1, 2))
        changes = whole[:, None] - functional.pad(kept.cumsum(1), (1, 0))
        # One sum from the first image on: what is kept of each image pins the heap in which its gradients were.
        if name not in squares:
            squares[name] = torch.zeros(changes.shape[1])
        squares[name] += changes.square().sum(0)

    _see_gradients(module, layers, images, generator, see)
    largest = max((float(each[0]) for each in squares.values()), default=0.0)
    return {name: each.flip(0).cummax(0).values.flip(0) / (largest or 1.0) for name, each in squares.items()}


def _see_gradients(
    module: nn.Module,
    layers: Mapping[str, Rows],
    images: Iterable[Tensor],
    generator: torch.Generator,
    see: Callable[[str, Tensor, Tensor], None],
) -> None:
    """Call ``see`` with (name, responses, gradients), both float32 (N, positions, n), for each layer and batch."""

    def watch(name: str, rows: Rows, _: nn.Module, __: object, outputs: Tensor) -> None:
        if outputs.requires_grad:
            # A copy: what follows may work in place.
            responses = rows(outputs.detach().clone())
            outputs.register_hook(lambda gradients: see(name, responses, rows(gradients)))  # type: ignore[no-untyped-call]

    with ExitStack() as hooks, torch.enable_grad():
        for name, rows in layers.items():
            hook = module.get_submodule(name).register_forward_hook(partial(watch, name, rows))
            hooks.callback(hook.remove)
        for batch in images:
            for inputs in torch.split(batch.detach(), BATCH_SIZE):
                # A copy goes in: networks may begin by working in place.
                outputs = module(inputs.requires_grad_().clone())
                if not outputs.requires_grad:  # the network turns gradients off
                    return
                signs = torch.randint(0, 2, outputs.shape, generator=generator) * 2.0 - 1
                # To the inputs alone: the gradients of weights belong to whoever trains the network.
                torch.autograd.grad(outputs, inputs, signs, allow_unused=True)
