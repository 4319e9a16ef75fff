"""TorchScript by tracing and freezing."""

from __future__ import annotations

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
        _strip_developer_paths(draft, file)
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


def _strip_developer_paths(draft: Path, file: Path) -> None:
    """Copy the archive without its debug records, which hold the source paths of the machine that traced it.

    PyTorch reads an archive without them; its error messages then lack source lines. The serialization id goes too:
    it is a hash that covers them.
    """
    with zipfile.ZipFile(draft) as source, zipfile.ZipFile(file, "w") as target:
        for entry in source.infolist():
            if entry.filename.endswith((".debug_pkl", ".data/serialization_id")):
                continue
            copy = zipfile.ZipInfo(_renamed(entry.filename, draft, file))
            copy.extra = _padding(target, copy)
            with source.open(entry) as record, target.open(copy, "w") as stored:
                while part := record.read(1 << 20):
                    stored.write(part)


def _renamed(entry: str, draft: Path, file: Path) -> str:
    """Every record lies below a folder that PyTorch calls after the file."""
    return file.stem + entry.removeprefix(draft.stem)


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
