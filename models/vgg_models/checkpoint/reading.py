"""Read a checkpoint of any accepted kind, container and layout."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from torch import Tensor, nn

from vgg_models.checkpoint.container import Container, detect_container
from vgg_models.checkpoint.contents import find_weights
from vgg_models.checkpoint.metadata_reading import read_metadata
from vgg_models.checkpoint.safetensors_file import read_safetensors, read_safetensors_header
from vgg_models.checkpoint.state_dict import assign, clean_tensors
from vgg_models.checkpoint.torch_file import read_torch_file
from vgg_models.checkpoint.torchscript import read_torchscript
from vgg_models.checkpoint.whole_module import check_module
from vgg_models.metadata import CheckpointMetadata
from vgg_models.types import CheckpointInfo, CheckpointKind, WeightsChoice
from vgg_runtime._internal.shortening import listed
from vgg_runtime.errors import CheckpointError, VggDeployError

__all__ = ["Checkpoint", "read_checkpoint"]

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Checkpoint:
    """The contents of a file, or of an object in memory.

    Attributes:
        path: path of the file; None if there is none.
        state: float32 weights on the CPU, with the original prefixes of their keys.
        module: the whole module with these weights in it, if one was saved; user classes in it are stubs, unless
            it comes from this process.
        metadata: what the file states about itself.
    """

    path: Path | None
    state: dict[str, Tensor]
    module: nn.Module | None
    info: CheckpointInfo
    metadata: CheckpointMetadata


def read_checkpoint(path: Path, *, weights: WeightsChoice = "raw", allow_nonfinite: bool = False) -> Checkpoint:
    """Read the file. Nothing in it is executed.

    Args:
        weights: which to take if there are raw weights and a running average of them.
        allow_nonfinite: accept NaN and infinite weights.

    Raises:
        CheckpointError: the file is not a checkpoint, is damaged, or holds weights that can't be used.
        UnsafeCheckpointError: the file names something that could run code.
        ArchitectureError: the file holds several models.
    """
    with _damage_is_refused(path):
        return _read_checkpoint(path, detect_container(path), weights, allow_nonfinite=allow_nonfinite)


@contextmanager
def _damage_is_refused(path: Path) -> Iterator[None]:
    """The only place that turns errors of zipfile, pickle, torch and safetensors into our own."""
    try:
        yield
    except VggDeployError:
        raise
    except Exception as error:  # a damaged file can make a reader fail in any way
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise CheckpointError(
            f"{path} is truncated or damaged: {reason}",
            hint="Check that the download or the copy is complete, or save the checkpoint again.",
        ) from error


def _read_checkpoint(path: Path, container: Container, choice: WeightsChoice, *, allow_nonfinite: bool) -> Checkpoint:
    with _sha256_beside(path) as sha256:
        return _checked(path, container, choice, sha256, allow_nonfinite=allow_nonfinite)


def _checked(
    path: Path, container: Container, choice: WeightsChoice, sha256: Callable[[], str], *, allow_nonfinite: bool
) -> Checkpoint:
    content, notes = _read(path, container)
    weights = find_weights(content, choice)
    module = weights.content if isinstance(weights.content, nn.Module) else None
    if module is not None:
        check_module(module)
    raw: Mapping[str, object] = module.state_dict() if module is not None else _mapping(weights.content)
    state, cast_notes = clean_tensors(raw, allow_nonfinite=allow_nonfinite)
    if module is not None:
        assign(module, state)
    info = CheckpointInfo(
        kind=_kind(container, module),
        sha256=sha256(),
        bytes=path.stat().st_size,
        averaged=weights.averaged,
        remarks=weights.remarks,
        notes=(*notes, *weights.notes, *cast_notes),
    )
    header = read_safetensors_header(path) if container is Container.SAFETENSORS else {}
    return Checkpoint(path, state, module, info, read_metadata(content, module, header))


def _mapping(content: object) -> Mapping[str, object]:
    assert isinstance(content, Mapping)  # find_weights returns a module or a mapping
    return content


_UNCHECKED = "the file has no checksums: damage to its weights would not be noticed"


def _read(path: Path, container: Container) -> tuple[object, tuple[str, ...]]:
    if container is Container.TORCHSCRIPT:
        return read_torchscript(path), ("a TorchScript archive: its weights were read, its code was not run",)
    if container is Container.SAFETENSORS:
        return read_safetensors(path), (_UNCHECKED,)
    file = read_torch_file(path, container)
    elsewhere = [device for device in file.devices if device != "cpu"]
    notes = [f"saved on {listed(elsewhere)}; loaded on the CPU"] if elsewhere else []
    return file.content, (*notes, *(() if file.checked else (_UNCHECKED,)))


def _kind(container: Container, module: nn.Module | None) -> CheckpointKind:
    if container is Container.TORCHSCRIPT:
        return "torchscript"
    if container is Container.SAFETENSORS:
        return "safetensors"
    return "state dict" if module is None else "module"


@contextmanager
def _sha256_beside(path: Path) -> Iterator[Callable[[], str]]:
    """Compute the digest in a thread, while the weights are checked; yield a function that waits for it."""
    stop = Event()
    with ThreadPoolExecutor(1, "sha256") as executor:
        digest = executor.submit(_sha256, path, stop)
        try:
            yield digest.result
        finally:
            stop.set()


def _sha256(path: Path, stop: Event) -> str:
    digest, chunk = hashlib.sha256(), memoryview(bytearray(_CHUNK))
    with path.open("rb", buffering=0) as file:
        while not stop.is_set() and (length := file.readinto(chunk)):
            digest.update(chunk[:length])
    return digest.hexdigest()
