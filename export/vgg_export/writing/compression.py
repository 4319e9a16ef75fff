"""Compression as a step of the export: ranks chosen on images that they were not taken from, and the record of it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from vgg_calibration.statistics.images import CalibrationImages
from vgg_export.progress import OnStep
from vgg_models.compression.low_rank import LowRankNetwork
from vgg_runtime.bundle.manifest import Compression, CompressionPoint, Tuning
from vgg_runtime.errors import CalibrationError

__all__ = ["CompressedNetwork", "Inputs", "Tune", "compress"]

# Trains a network of these ranks on the first images, and returns the best one on the others.
Tune: TypeAlias = Callable[
    [nn.Module, Mapping[str, int], CalibrationImages, CalibrationImages], tuple[nn.Module, Tuning]
]

# By what the multiply-accumulates are divided in the networks that "auto" chooses from.
SPEEDUPS = (16.0, 13.0, 10.0, 8.0, 6.5, 5.0, 4.0, 3.2, 2.5, 2.0, 1.6, 1.3)

# Images that networks are compared on, at most, and images that run at once.
COMPARED_IMAGES, BATCH_SIZE = 128, 8

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
    judge: Callable[[nn.Module], str | None] = lambda _: None,
    tune: Tune | None = None,
    seed: int,
    on_step: OnStep,
) -> CompressedNetwork:
    """Factorize the layers of ``module`` with the moments of most images, and compare networks on the others.

    Args:
        speedup: by what the multiply-accumulates are divided; None takes the smallest network that keeps its answers.
        min_agreement: share of the images that networks are compared on for which the best class has to stay.
        judge: says what a network misses on the images that the gate will judge by, None where it passes. Nothing else
            is taken from these images.
        other: images of another kind, on which the chosen network is compared too.
        tune: trains the chosen network; None takes it as it is.

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
    low_rank = LowRankNetwork(module, _batches(moment_images), seed=seed, on_progress=on_step)
    original = _Answers(module, comparison_images, on_step)
    trials: list[_Trial] = []

    def passes(factor: float) -> bool:
        ranks = low_rank.ranks(speedup=factor)
        network = low_rank.build(ranks)
        agreement, cost = original.agreement(network), low_rank.cost(ranks)
        shortfall = None
        # Whoever asks for a ratio gets it, and the gate has its say later.
        if speedup is None:
            shortfall = _disagreement(agreement, min_agreement) or judge(network)
        factorized = {name: rank for name, rank in ranks.items() if rank is not None}
        point = CompressionPoint(factorized, cost.macs, cost.parameters, agreement, shortfall or "passes")
        trials.append(_Trial(network, point, shortfall is None))
        return shortfall is None

    bisect_left(SPEEDUPS if speedup is None else (speedup,), True, key=passes)
    trials.sort(key=lambda trial: trial.point.macs)
    # Where none passes, the one of most operations; the gate leaves its variants out.
    taken = next((trial for trial in trials if trial.passes), trials[-1])
    network, chosen, tuning = taken.network, replace(taken.point, verdict="chosen"), None
    if tune is not None:
        network, tuning = tune(network, chosen.ranks, moment_images, comparison_images)
        chosen = replace(chosen, agreement=tuning.agreement_after)
    record = Compression(
        chosen=chosen,
        curve=tuple(chosen if trial is taken else trial.point for trial in trials),
        images=moment_images.names,
        compared=comparison_images.names,
        sha256=images.sha256,
        other_images=0 if other is None else len(other),
        other_agreement=None if other is None else _Answers(module, other, on_step).agreement(network),
        tuning=tuning,
    )
    return CompressedNetwork(network, record)


@dataclass(frozen=True)
class _Trial:
    network: nn.Module
    point: CompressionPoint
    passes: bool


def _disagreement(agreement: float, asked: float) -> str | None:
    if agreement >= asked:
        return None
    return f"keeps {agreement:.1%} of the best classes; {asked:.1%} are asked for"


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
        for batch in _batches(self._images):
            self._on_step("comparing compressed networks", len(answers) * BATCH_SIZE, len(self._images))
            answers.append(module(batch).argmax(1))
        return torch.cat(answers)


class Inputs(Dataset[Tensor]):
    """Images as a network takes them, normalized each time they are read: they are kept as uint8."""

    def __init__(self, images: CalibrationImages) -> None:
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int, /) -> Tensor:
        return torch.from_numpy(self._images.preprocessing.normalize(self._images.pixels[index]))


def _batches(images: CalibrationImages) -> DataLoader[Tensor]:
    # With a generator of its own it leaves PyTorch's, which belongs to the caller, as it is.
    return DataLoader(Inputs(images), BATCH_SIZE, generator=torch.Generator())


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
