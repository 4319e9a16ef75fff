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

from vgg_runtime.errors import ArchitectureError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from vgg_runtime.manifest import Input

__all__ = ["load_torchscript", "torch2torchscript"]

# PyTorch maps tensors from a stored record at this alignment, in bytes.
_ALIGNMENT = 64

_MANGLE = re.compile(rb"___torch_mangle_\d+")


def torch2torchscript(module: nn.Module, file: Path, *, takes: Input, metadata: Mapping[str, str]) -> None:
    """Write ``module`` (in eval mode) as a traced and frozen TorchScript archive to ``file``.

    Args:
        takes: shape of the input. A traced module takes any batch size that its operators take.
        metadata: written as extra files; ``torch.jit.load(file, _extra_files={name: ""})`` gives them back.

    Raises:
        ArchitectureError: PyTorch cannot trace the module.
    """
    import torch

    example = torch.zeros(takes.batch_size or 2, *map(int, takes.shape[1:]))
    with _quiet(), torch.no_grad():
        try:
            traced = torch.jit.trace(module, example, check_trace=False)  # type: ignore[no-untyped-call]
        except Exception as error:  # whatever the module's own forward raises
            raise ArchitectureError(f"PyTorch cannot trace this network: {error}") from error
        frozen = torch.jit.freeze(traced)
        draft = file.with_name(file.name + ".draft")
        torch.jit.save(frozen, draft, _extra_files=dict(metadata))
    try:
        _copy_reproducibly(draft, file)
    finally:
        draft.unlink()


def load_torchscript(file: Path) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Return a function that runs the archive at ``file`` on the CPU: float32 NCHW in, float32 (batch, classes) out.

    A TorchScript archive is code: only load what this project wrote.
    """
    import torch

    with _quiet():
        module = torch.jit.load(str(file), map_location="cpu")  # type: ignore[no-untyped-call]

    def run(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode(), _quiet():
            output: NDArray[np.float32] = module(torch.from_numpy(batch)).numpy()
            return output

    return run


def _copy_reproducibly(draft: Path, file: Path) -> None:
    """Copy the archive without what depends on the process that traced it.

    The debug records hold the source paths of the build machine; PyTorch reads an archive without them, and its
    error messages then lack source lines. The serialization id is a hash that covers them. The numbers that mangle
    class names count what the process traced before.
    """
    numbers: dict[bytes, bytes] = {}

    def renumbered(text: bytes) -> bytes:
        return _MANGLE.sub(lambda match: numbers.setdefault(match[0], b"___torch_mangle_%d" % len(numbers)), text)

    with zipfile.ZipFile(draft) as source, zipfile.ZipFile(file, "w") as target:
        for entry in source.infolist():
            if entry.filename.endswith((".debug_pkl", ".data/serialization_id")):
                continue
            # Every record lies below a folder that PyTorch calls after the file.
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
    """The one place that silences PyTorch's warnings about TorchScript's deprecation."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
