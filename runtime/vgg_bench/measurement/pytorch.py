"""The checkpoint itself in PyTorch, by backends that plug in through entry points."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path

from vgg_bench.engines import why_no_torch
from vgg_runtime.backends.base import Backend, SessionConfig
from vgg_runtime.bundle.checksums import sha256_of
from vgg_runtime.bundle.manifest import Manifest
from vgg_runtime.errors import CheckpointError, MissingCapabilityError

__all__ = ["CHECKPOINT_BACKENDS", "IN_PYTORCH", "open_checkpoint", "require_checkpoint"]

# A function of the checkpoint's path, the session config and the manifest.
CHECKPOINT_BACKENDS = "vgg_deploy.checkpoint_backends"

# The ways to run the checkpoint's module on each device; these names stand in for the names of variants.
IN_PYTORCH = {
    "cpu": ("eager", "compiled"),
    "cuda": ("eager", "channels-last", "autocast-fp16", "autocast-bf16", "compiled", "compiled-fp16"),
}


def open_checkpoint(how: str, checkpoint: Path, config: SessionConfig, manifest: Manifest) -> Backend:
    """Run the network that ``manifest`` describes from its checkpoint, ``how`` being one of :data:`IN_PYTORCH`.

    Raises:
        MissingCapabilityError: nothing that runs it is installed.
    """
    plugged = {point.name: point for point in entry_points(group=CHECKPOINT_BACKENDS)}
    if how not in plugged:
        raise MissingCapabilityError(f"nothing that is installed can run a checkpoint as {how!r}.")
    backend: Backend = plugged[how].load()(checkpoint, config, manifest)
    return backend


def require_checkpoint(checkpoint: Path, manifest: Manifest) -> None:
    """Refuse a checkpoint that cannot be measured beside the bundle of ``manifest``.

    Raises:
        MissingCapabilityError: PyTorch is not installed.
        CheckpointError: the file cannot be read, or the bundle was exported from another one.
    """
    if (why := why_no_torch()) is not None:
        raise MissingCapabilityError(f"a checkpoint cannot be run here: {why}")
    try:
        digest = sha256_of(checkpoint)
    except OSError as error:
        raise CheckpointError(f"{checkpoint} cannot be read: {error}.") from error
    if manifest.source.sha256 not in (None, digest):
        raise CheckpointError(
            f"{checkpoint} is not the checkpoint that the bundle was exported from (SHA-256 differs).",
            hint="Name that checkpoint, or export this one.",
        )
