"""Tuning as a step of the export: the low-rank network learns to answer as the original, and may be interrupted."""

from __future__ import annotations

import hashlib
import json
import pickle
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Literal, cast

import torch
from torch import nn

from vgg_calibration.statistics.images import CalibrationImages
from vgg_export.progress import OnNote, OnStep
from vgg_export.writing.compression import Inputs
from vgg_models import __version__
from vgg_models.compression.distillation import DistillationState, distill
from vgg_runtime._internal.cache import entry_file, replacing
from vgg_runtime.bundle.manifest import Compression, Tuning

if TYPE_CHECKING:
    from pathlib import Path

    from vgg_export.planning.plan import Plan

__all__ = ["discard_tuning_state", "tune"]

# The state is written this often at most, and so that it takes no more than this share of the time.
SECONDS_BETWEEN_WRITES, SHARE_OF_TIME = 10.0, 0.05


def tune(
    network: nn.Module,
    plan: Plan,
    ranks: Mapping[str, int],
    images: CalibrationImages,
    compared: CalibrationImages,
    *,
    sha256: str,
    on_step: OnStep,
    on_note: OnNote,
) -> tuple[nn.Module, Tuning]:
    """Train ``network``, the low-rank one of ``ranks``, to answer as the original of ``plan`` does.

    An export that is interrupted from here on goes on where it was when it is run again.

    Args:
        images: what it is trained on.
        compared: what the best network is chosen by.
        sha256: digest of both.

    Returns:
        the best network, the given one at worst, and the record of it.
    """
    minutes, seed = plan.options.compress.tune, plan.options.seed
    assert minutes is not None
    state = _KeptState(_key(plan, ranks, sha256), on_note)
    distillation = distill(
        network,
        plan.loaded.module,
        Inputs(images),
        held_out=Inputs(compared),
        minutes=minutes,
        seed=seed,
        state=state.read(),
        on_state=state.write,
        on_progress=on_step,
    )
    record = Tuning(
        minutes=minutes,
        steps=distillation.steps,
        images=len(images),
        device=cast("Literal['cpu', 'cuda']", distillation.device),
        agreement_before=distillation.before.agreement,
        agreement_after=distillation.after.agreement,
        loss_before=distillation.before.loss,
        loss_after=distillation.after.loss,
    )
    return distillation.network, record


def discard_tuning_state(plan: Plan, compression: Compression | None) -> None:
    """Remove what an interrupted tuning would go on from: the bundle is written."""
    if compression is not None and compression.tuning is not None:
        _KeptState(_key(plan, compression.chosen.ranks, compression.sha256)).discard()


class _KeptState:
    """The state of a tuning in the cache. What cannot be kept is only missed by an export that is interrupted.

    Args:
        key: all that the state depends on.
        on_note: called with a line of text where the state cannot be kept.
    """

    def __init__(self, key: Mapping[str, str], on_note: OnNote = lambda _: None) -> None:
        self._key = key
        self._on_note = on_note
        self._next_write = 0.0

    def read(self) -> DistillationState | None:
        """Return the state; None where there is none that is readable."""
        try:
            return cast("DistillationState", torch.load(self._file, map_location="cpu", weights_only=True))
        except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError):
            return None

    def write(self, state: DistillationState) -> None:
        """Put ``state`` in the place of the last one, unless that is still fresh."""
        begun = time.monotonic()
        if begun < self._next_write:
            return
        try:
            with replacing(self._file) as part:
                torch.save(state, part)
        except (OSError, RuntimeError) as error:
            self._on_note(f"note: tuning will start anew if it is interrupted, as its state cannot be kept: {error}")
            self._next_write = float("inf")
            return
        ended = time.monotonic()
        self._next_write = ended + max(SECONDS_BETWEEN_WRITES, (ended - begun) / SHARE_OF_TIME)

    def discard(self) -> None:
        with suppress(OSError, RuntimeError):
            self._file.unlink(missing_ok=True)

    @property
    def _file(self) -> Path:
        return entry_file("tuning", self._key, suffix=".pt")


def _key(plan: Plan, ranks: Mapping[str, int], sha256: str) -> dict[str, str]:
    """Return all that the state of a tuning depends on; time is not part of it, so more can be given the next time."""
    return {
        "original": _digest(plan.loaded.module),
        "ranks": json.dumps(dict(ranks)),
        "images": sha256,
        "preprocessing": repr(plan.preprocessing),
        "seed": str(plan.options.seed),
        "version": __version__,
    }


def _digest(module: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
