"""A permutation of pixels from the file that training saved it to."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vgg_runtime.errors import CheckpointError, PreprocessingError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["read_permutation"]

_DAMAGED = (OSError, ValueError, EOFError, RecursionError, RuntimeError, pickle.UnpicklingError, zipfile.BadZipFile)


def read_permutation(path: Path) -> list[int]:
    """Return the integers in ``path``, in their order; whether they are a permutation is for Preprocessing to check.

    Raises:
        PreprocessingError: the file is unreadable, of an unknown kind, or no row of integers.
    """
    read = _READERS.get(path.suffix.lower())
    if read is None:
        raise PreprocessingError(f"{path} is no kind of file that a permutation is read from.", hint=_HINT)
    try:
        found = read(path)
    except CheckpointError as error:
        raise PreprocessingError(f"the permutation cannot be read: {error.message}", hint=_HINT) from error
    except _DAMAGED as error:
        raise PreprocessingError(f"the permutation in {path} cannot be read: {error}.", hint=_HINT) from error
    if found.ndim != 1 or not np.issubdtype(found.dtype, np.integer):
        raise PreprocessingError(
            f"{path} holds {found.dtype} of shape {list(found.shape)}; a permutation is one row of integers.",
            hint=_HINT,
        )
    return list(map(int, found))


def _json(path: Path) -> NDArray[Any]:
    return np.asarray(json.loads(path.read_text(encoding="utf-8")))


def _numpy(path: Path) -> NDArray[Any]:
    array: NDArray[Any] = np.load(path, allow_pickle=False)
    return array


def _text(path: Path) -> NDArray[Any]:
    return np.array([int(word) for word in path.read_text(encoding="utf-8").replace(",", " ").split()])


def _torch(path: Path) -> NDArray[Any]:
    from vgg_models.checkpoint.container import detect_container
    from vgg_models.checkpoint.torch_file import read_torch_file

    return np.asarray(read_torch_file(path, detect_container(path)).content)


_READERS: dict[str, Callable[[Path], NDArray[Any]]] = {
    ".json": _json,
    ".npy": _numpy,
    ".txt": _text,
    ".pt": _torch,
    ".pth": _torch,
}
_HINT = f"Save it as one row of integers in a file that ends in {', '.join(_READERS)}, or write the list itself."
