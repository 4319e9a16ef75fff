"""TorchScript by tracing and freezing."""

from __future__ import annotations

import re
import shutil
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from vgg_runtime.bundle.embedded_manifest import METADATA_KEY
from vgg_runtime.errors import ArchitectureError, MissingCapabilityError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from vgg_runtime.bundle.manifest import InputArray, InputSpec

__all__ = ["load_torchscript", "torch2torchscript"]

# PyTorch maps tensors from a stored record at this alignment, in bytes.
_ALIGNMENT = 64

# Bytes for the contents of an archive besides its weights.
_OVERHEAD = 2_000_000

_MANGLE = re.compile(rb"___torch_mangle_\d+")


def torch2torchscript(module: nn.Module, file: Path, *, input_spec: InputSpec, metadata: Mapping[str, str]) -> None:
    """Write ``module`` (in eval mode) as a traced and frozen TorchScript archive to ``file``.

    Args:
        input_spec: shape and dtype of the input. A traced module takes any batch size that its operators do.
        metadata: written as extra files; ``torch.jit.load(file, _extra_files={name: ""})`` returns them.

    Raises:
        ArchitectureError: PyTorch cannot trace the module.
        MissingCapabilityError: there is too little disk space.
    """
    import torch

    _check_room(module, file.parent)
    example = torch.zeros(input_spec.batch_size or 2, *input_spec.image_shape, dtype=getattr(torch, input_spec.dtype))
    with _quiet(), torch.no_grad():
        try:
            traced = torch.jit.trace(module, example, check_trace=False)  # type: ignore[no-untyped-call]
        except Exception as error:  # the module's forward may raise anything
            raise ArchitectureError(f"PyTorch cannot trace this network: {error}") from error
        frozen = torch.jit.freeze(traced)
        draft = file.with_name(file.name + ".draft")
        torch.jit.save(frozen, draft, _extra_files=dict(metadata))
    try:
        _copy_reproducibly(draft, file)
    finally:
        draft.unlink()


def _check_room(module: nn.Module, folder: Path) -> None:
    """Refuse if disk space is too short, because PyTorch's archive writer would abort the whole process."""
    tensors = [*module.parameters(), *module.buffers()]
    weights = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    needed, free = 2 * weights + _OVERHEAD, shutil.disk_usage(folder).free  # a draft and its copy
    if free < needed:
        raise MissingCapabilityError(
            f"writing TorchScript needs {needed / 1e6:,.0f} MB of disk; {free / 1e6:,.0f} MB are free.",
            hint="Make room, or give a path to `output` on another disk.",
        )


def load_torchscript(file: Path, *, device: str = "cpu") -> tuple[Callable[[InputArray], NDArray[np.float32]], str]:
    """Return a function that runs the archive at ``file``, and the metadata that :func:`torch2torchscript` wrote.

    The function takes the dtype and layout that the module was traced with, and returns float32 (batch, classes). A
    TorchScript archive is code: only load what this project wrote.

    Raises:
        Exception: of any kind, if the archive is damaged.
    """
    import torch

    from vgg_models.checkpoint.torchscript import check_torchscript

    check_torchscript(file)
    extra = {METADATA_KEY: ""}
    with _quiet():
        module = torch.jit.load(str(file), map_location=device, _extra_files=extra)  # type: ignore[no-untyped-call]

    def run(batch: InputArray) -> NDArray[np.float32]:
        with torch.inference_mode(), _quiet():
            output: NDArray[np.float32] = module(torch.from_numpy(batch).to(device)).cpu().numpy()
            return output

    metadata = extra[METADATA_KEY]
    return run, metadata.decode() if isinstance(metadata, bytes) else metadata


def _copy_reproducibly(draft: Path, file: Path) -> None:
    """Copy the archive without the parts that depend on the process that traced it.

    The debug records hold source paths of the build machine; PyTorch reads an archive without them, but error messages
    then lack source lines. The serialization id is a hash that covers them. The numbers in mangled class names count
    what the process traced before.
    """
    numbers: dict[bytes, bytes] = {}

    def renumbered(text: bytes) -> bytes:
        return _MANGLE.sub(lambda match: numbers.setdefault(match[0], b"___torch_mangle_%d" % len(numbers)), text)

    with zipfile.ZipFile(draft) as source, zipfile.ZipFile(file, "w") as target:
        for entry in source.infolist():
            if entry.filename.endswith((".debug_pkl", ".data/serialization_id")):
                continue
            # Every record is below a folder that PyTorch names after the file.
            name = file.stem + entry.filename.removeprefix(draft.stem)
            copy = zipfile.ZipInfo(renumbered(name.encode()).decode())
            copy.extra = _padding(target, copy)
            if name.endswith((".py", ".pkl")):
                target.writestr(copy, renumbered(source.read(entry)))
                continue
            with source.open(entry) as record, target.open(copy, "w") as stored:
                shutil.copyfileobj(record, stored)


def _padding(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """Return an extra field that makes the record after the header start at a multiple of the alignment."""
    assert archive.fp is not None
    start = archive.fp.tell() + 30 + len(entry.filename.encode()) + 4  # header, name, and the field's own header
    size = -start % _ALIGNMENT
    return b"FB" + size.to_bytes(2, "little") + b"Z" * size


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence PyTorch's warnings about TorchScript's deprecation."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
