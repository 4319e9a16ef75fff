"""Compression as a step of the export: ranks chosen on images that they were not taken from, and the record of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from vgg_calibration.statistics.images import CalibrationImages
from vgg_export.progress import OnStep
from vgg_models.compression.low_rank import LowRankNetwork
from vgg_runtime.bundle.manifest import Compression, CompressionPoint
from vgg_runtime.errors import CalibrationError

if TYPE_CHECKING:
    from torch import nn

    from vgg_models.compression.ranks import Ranks


__all__ = ["CompressedNetwork", "compress"]

# By what the multiply-accumulates are divided in the networks that are tried for "auto", until one keeps its answers.
SPEEDUPS = (10.0, 8.0, 6.0, 5.0, 4.0, 3.0, 2.5, 2.0, 1.6, 1.3)

# Images that networks are compared on, at most, and images that run at once.
COMPARED_IMAGES, BATCH_SIZE = 128, 8

# A refit brings back up to this share of the answers, so networks that are not fitted yet may miss by as much.
REFIT_GAIN = 0.03

# Each direction that a layer keeps has to show in several images, and layers keep dozens.
FEWEST_IMAGES = 64

# Neighbouring pixels of photographs and of drawings are much alike; those of white noise are independent.
LEAST_CORRELATION = 0.2


@dataclass(frozen=True)
class CompressedNetwork:
    """The network that was chosen, and the record of the choice for the manifest."""

    module: nn.Module
    record: Compression


def compress(
    module: nn.Module,
    images: CalibrationImages,
    *,
    speedup: float | None,
    min_agreement: float,
    other: CalibrationImages | None = None,
    passes: Callable[[nn.Module], bool] = lambda _: True,
    seed: int,
    on_step: OnStep,
) -> CompressedNetwork:
    """Factorize the layers of ``module`` with the moments of most images, and compare networks on the others.

    Args:
        speedup: by what the multiply-accumulates are divided; None takes the smallest network that keeps its answers.
        min_agreement: share of the images that networks are compared on for which the best class has to stay.
        passes: whether a network is good enough on the images that the gate will judge by; one that is not is given up
            for the next larger one, and nothing else is taken from these images.
        other: images of another kind, on which the chosen network is compared too.

    Raises:
        CalibrationError: the images are noise, or too few.
    """
    _refuse_noise(images)
    moment_images, comparison_images = images.split(len(images) - min(COMPARED_IMAGES, len(images) // 4))
    if len(moment_images) < FEWEST_IMAGES:
        raise CalibrationError(
            f"compression measures layers on {len(moment_images)} images and compares networks on "
            f"{len(comparison_images)} others; a rank of r takes 2 r images to tell its directions apart, and at least "
            f"{FEWEST_IMAGES}.",
            hint=f"Give {FEWEST_IMAGES * 4 // 3 + 1} images or more with `calibration`; 800 are better.",
        )
    low_rank = LowRankNetwork(module, _Batches(moment_images), seed=seed, on_progress=on_step)
    original = _Answers(module, comparison_images, on_step)
    curve = []
    speedups = SPEEDUPS if speedup is None else (speedup,)
    for factor in speedups:
        # The last one is taken whatever it loses, so there is nothing to find out before it is fitted.
        is_last = factor == speedups[-1]
        ranks = low_rank.ranks(speedup=factor)
        network = low_rank.build(ranks, refit=is_last)
        agreement = original.agreement(network)
        if not is_last and agreement >= min_agreement - REFIT_GAIN:
            network = low_rank.build(ranks)
            agreement = original.agreement(network)
        curve.append(_point(low_rank, ranks, agreement))
        if not is_last and agreement >= min_agreement and passes(network):
            break
    record = Compression(
        chosen=curve[-1],
        curve=tuple(curve),
        images=moment_images.names,
        compared=comparison_images.names,
        sha256=images.sha256,
        other_images=0 if other is None else len(other),
        other_agreement=None if other is None else _Answers(module, other, on_step).agreement(network),
    )
    return CompressedNetwork(network, record)


def _point(low_rank: LowRankNetwork, ranks: Ranks, agreement: float) -> CompressionPoint:
    cost = low_rank.cost(ranks)
    factorized = {name: rank for name, rank in ranks.items() if rank is not None}
    return CompressionPoint(factorized, cost.macs, cost.parameters, agreement)


class _Answers:
    """The original's best class of each image."""

    def __init__(self, module: nn.Module, images: CalibrationImages, on_step: OnStep) -> None:
        self._images = images
        self._on_step = on_step
        self._best = self._run(module)

    def agreement(self, module: nn.Module) -> float:
        """Return the share of the images on which the best class of ``module`` is the same."""
        return float((self._run(module) == self._best).float().mean())

    @torch.inference_mode()
    def _run(self, module: nn.Module) -> Tensor:
        answers: list[Tensor] = []
        for batch in _Batches(self._images):
            self._on_step("comparing compressed networks", len(answers) * BATCH_SIZE, len(self._images))
            answers.append(module(batch).argmax(1))
        return torch.cat(answers)


class _Batches(Iterable[Tensor]):
    """Images as batches of tensors, normalized each time they are read: they are kept as uint8."""

    def __init__(self, images: CalibrationImages) -> None:
        self._images = images

    def __iter__(self) -> Iterator[Tensor]:
        for start in range(0, len(self._images), BATCH_SIZE):
            pixels = self._images.pixels[start : start + BATCH_SIZE]
            yield torch.from_numpy(np.stack([self._images.preprocessing.normalize(image) for image in pixels]))


def _refuse_noise(images: CalibrationImages) -> None:
    pixels = np.stack(images.pixels[:FEWEST_IMAGES]).astype(np.float32)
    pixels -= pixels.mean((1, 2), keepdims=True)
    correlation = float((pixels[:, :, 1:] * pixels[:, :, :-1]).mean() / max(np.square(pixels).mean(), 1e-6))
    if correlation < LEAST_CORRELATION:
        raise CalibrationError(
            f"the calibration images look like noise: neighbouring pixels correlate by {correlation:.2f}, and those of "
            "photographs by some 0.9. A network that is compressed for noise fails on photographs.",
            hint="Give `calibration` real images, like those that the network will see.",
        )
