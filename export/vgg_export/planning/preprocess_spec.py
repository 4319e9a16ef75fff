"""``--preprocess``: a preset by name, or a JSON file; from Python also a Preprocessing."""

from __future__ import annotations

import json
import math
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from vgg_runtime._internal.json_codec import MismatchError, from_json, to_json
from vgg_runtime._internal.validation import counted
from vgg_runtime.errors import CheckpointError, PreprocessingError
from vgg_runtime.imaging.preprocessing import Preprocessing
from vgg_runtime.imaging.presets import PRESETS, preset

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["FIND", "is_preset", "read_permutation", "resolve_preprocessing", "stated_size"]


# The word for a search on labelled samples (see preprocess_search).
FIND = "find"

_FIELDS = (
    "Its fields: channels (RGB, BGR, L), resize (N or [height, width]), interpolation, crop ([height, width]), "
    "divide_by, mean, std, exif_orientation, permutation (a list, or the path of a file beside this one)."
)


def is_preset(option: str | Preprocessing | None) -> TypeGuard[str]:
    """Whether ``option`` is the name of a preset."""
    return isinstance(option, str) and option in PRESETS


def stated_size(option: str | Preprocessing | None) -> tuple[int, int] | None:
    """Return the (height, width) that ``option`` states, or None if it depends on the network."""
    if option is None or option == FIND:
        return None
    return PRESETS[option][1] if is_preset(option) else _read(option).output_size


def resolve_preprocessing(option: str | Preprocessing, *, size: tuple[int, int], channels: int) -> Preprocessing:
    """Return the preprocessing for a network that takes ``channels`` planes of ``size`` (height, width).

    Raises:
        PreprocessingError: the option is neither a preset nor a readable file, or does not fit the network.
    """
    if is_preset(option):
        return preset(option, size, channels)
    preprocessing, origin = _read(option), option if isinstance(option, str) else "the Preprocessing"
    if preprocessing.channel_count != channels:
        raise PreprocessingError(
            f"{origin} makes {counted(preprocessing.channel_count, 'channel')} ({preprocessing.channels}); "
            f"the network takes {channels}."
        )
    if preprocessing.output_size not in (None, size):
        raise PreprocessingError(
            f"{origin} makes images of {preprocessing.output_size} (height, width); the network takes {size}.",
            hint="Make resize, crop and `input_size` agree.",
        )
    if len(preprocessing.permutation or ()) not in (0, math.prod(size)):
        raise PreprocessingError(
            f"{origin} permutes {len(preprocessing.permutation or ())} pixels; the network takes images of {size} "
            f"(height, width), {math.prod(size)} pixels."
        )
    return preprocessing


def _read(option: str | Preprocessing) -> Preprocessing:
    if isinstance(option, Preprocessing):
        return _as_it_will_be_read(option)
    path = Path(option)
    try:
        return from_json(Preprocessing, _with_permutation(json.loads(path.read_text(encoding="utf-8")), path.parent))
    except FileNotFoundError as error:
        raise PreprocessingError(
            f"{str(path)!r} is neither a preset nor a file.",
            hint=f"Presets: {', '.join(PRESETS)}; or {FIND}, with labelled samples.",
        ) from error
    except (OSError, UnicodeDecodeError, RecursionError) as error:
        raise PreprocessingError(f"{path} cannot be read: {error}.") from error
    except (MismatchError, json.JSONDecodeError) as error:
        raise PreprocessingError(f"{path} is not a description of preprocessing: {error}.", hint=_FIELDS) from error


def _as_it_will_be_read(preprocessing: Preprocessing) -> Preprocessing:
    """Return it as it is read back from the manifest: lists become tuples, and other types are refused."""
    try:
        return from_json(Preprocessing, to_json(preprocessing))
    except MismatchError as error:
        raise PreprocessingError(f"the Preprocessing is not valid: {error}.", hint=_FIELDS) from error


def _with_permutation(description: Any, folder: Path) -> Any:
    """Replace the name of a file by the list in it; a path is relative to the folder of the description."""
    if isinstance(description, dict) and isinstance(file := description.get("permutation"), str):
        return description | {"permutation": read_permutation(folder / file)}
    return description


_DAMAGED = (OSError, ValueError, EOFError, RecursionError, RuntimeError, pickle.UnpicklingError, zipfile.BadZipFile)


def read_permutation(path: Path) -> list[int]:
    """Return the integers in ``path``, in order; Preprocessing checks whether they are a permutation.

    Raises:
        PreprocessingError: the file is unreadable, of an unknown kind, or not a row of integers.
    """
    read = _READERS.get(path.suffix.lower())
    if read is None:
        raise PreprocessingError(f"{path}: a permutation cannot be read from this kind of file.", hint=_HINT)
    try:
        array = read(path)
    except CheckpointError as error:
        raise PreprocessingError(f"the permutation cannot be read: {error.message}", hint=_HINT) from error
    except _DAMAGED as error:
        raise PreprocessingError(f"the permutation in {path} cannot be read: {error}.", hint=_HINT) from error
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise PreprocessingError(
            f"{path} holds {array.dtype} of shape {list(array.shape)}; a permutation is one row of integers.",
            hint=_HINT,
        )
    return list(map(int, array))


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
