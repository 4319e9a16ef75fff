"""Training as the lessons do it, cut down to seconds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from lesson_images import Images, Pixels, digits
from torch import nn
from torch.nn import functional

__all__ = ["trained"]


@cache
def trained(
    network: type[nn.Module], pixels: Pixels, kind: Images, *, images: int, epochs: int, batch: int = 64
) -> nn.Module:
    """Train on ``images`` of the 4,000 digits that are not held out; once, however the network is saved then."""
    train = [pair for number, pair in enumerate(digits(kind)) if number % 5][:: 4000 // images]
    inputs = pixels([image for image, _ in train])
    labels = torch.tensor([label for _, label in train])
    with torch.random.fork_rng(devices=[]), _one_thread():
        torch.manual_seed(0)
        module = network().train()
        steps = epochs * (len(train) // batch)
        optimizer = torch.optim.Adam(module.parameters(), lr=2e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps)
        for _ in range(epochs):
            for chosen in torch.randperm(len(train))[: steps // epochs * batch].split(batch):
                optimizer.zero_grad()
                functional.cross_entropy(module(inputs[chosen]), labels[chosen]).backward()
                optimizer.step()
                schedule.step()
    return module.eval()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Of steps this small more is spent on waiting for threads than on work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
