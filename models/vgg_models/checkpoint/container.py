"""The kind of a checkpoint file, by its content and never by its name."""

from __future__ import annotations

import json
import stat
import struct
import zipfile
from enum import Enum
from pathlib import Path

from vgg_models.checkpoint.other_formats import EXPORT_HINT, recognise_other_format
from vgg_runtime.errors import CheckpointError

__all__ = ["Container", "detect_container"]

ACCEPTED = "Accepted are files written by torch.save, .safetensors files and TorchScript archives."
_RESAVE = "Check that the download or the copy is complete, or save the checkpoint again."

_ZIP_MAGIC = b"PK\x03\x04"
# torch.save's old container begins with this pickled number, 0x1950a86a20f9469cfc6c (torch/serialization.py).
_LEGACY_MAGIC = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
# An image classifier has some 100 kB. The limit of the safetensors library, 100 MB, would be several GB of objects.
_MAX_SAFETENSORS_HEADER_BYTES = 4 * 1024 * 1024

# Files that people pass by mistake: the first bytes, and a name.
_OTHER_FILES: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"%PDF", "a PDF document"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file (as Keras saves weights)"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"version https://git-lfs", "a git-lfs pointer: the weights themselves were not fetched (run: git lfs pull)"),
)


class Container(Enum):
    """The kinds of files that can be read."""

    TORCH_ZIP = "torch.save, zip container"
    TORCH_LEGACY = "torch.save, container of torch 1.5 and older"
    TORCHSCRIPT = "TorchScript archive"
    SAFETENSORS = "safetensors"


def detect_container(path: Path) -> Container:
    """Return what the file is.

    Raises:
        CheckpointError: the file is missing, empty, truncated or not a checkpoint; the message says what it is.
    """
    head = _read_head(path)
    if head.startswith(_ZIP_MAGIC):
        return _zip_kind(path)
    if head[:2] == b"\x80\x02" and head[2:].startswith(_LEGACY_MAGIC):
        return Container.TORCH_LEGACY
    if _is_safetensors(head, path):
        return Container.SAFETENSORS
    if other := recognise_other_format(path, head):
        raise CheckpointError(f"{path} is {other.name}, not a PyTorch checkpoint. {ACCEPTED}", hint=other.hint)
    raise CheckpointError(f"{path} is {_name_other_file(head, path)}, not a checkpoint. {ACCEPTED}", hint=_RESAVE)


def _read_head(path: Path) -> bytes:
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder. {ACCEPTED}", hint="Give the path of one file.")
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a named pipe would be waited for
            raise CheckpointError(f"{path} is not a regular file. {ACCEPTED}", hint="Save it to a file first.")
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError as error:
        reason = error.strerror or str(error)
        raise CheckpointError(f"{path} can't be read: {reason}.", hint="Check the path.") from error
    if not head:
        raise CheckpointError(f"{path} is empty (0 bytes). {ACCEPTED}", hint=_RESAVE)
    return head


def _zip_kind(path: Path) -> Container:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError) as error:
        raise CheckpointError(f"{path} is a truncated or damaged zip file: {error}.", hint=_RESAVE) from error
    entries = {name.partition("/")[2] for name in names}
    if "constants.pkl" in entries:
        return Container.TORCHSCRIPT
    if "data.pkl" in entries:
        return Container.TORCH_ZIP
    if {"config.json", "model.weights.h5"} <= set(names):
        raise CheckpointError(f"{path} is a Keras model, not a PyTorch checkpoint. {ACCEPTED}", hint=EXPORT_HINT)
    examples = ", ".join(sorted(names)[:5]) or "no entries"
    raise CheckpointError(f"{path} is a zip file that torch.save didn't write (it holds {examples}). {ACCEPTED}")


def _is_safetensors(head: bytes, path: Path) -> bool:
    """The file starts with the length of the JSON header, an unsigned 64-bit number, and then that header."""
    if len(head) < 9 or head[8:9] != b"{":
        return False
    (length,) = struct.unpack("<Q", head[:8])
    if not 2 <= length <= _MAX_SAFETENSORS_HEADER_BYTES:
        return False
    with path.open("rb") as file:
        header = file.read(8 + length)[8:]
    try:
        return len(header) == length and isinstance(json.loads(header), dict)
    except ValueError:
        raise CheckpointError(f"{path} looks like safetensors, but its header is damaged.", hint=_RESAVE) from None


def _name_other_file(head: bytes, path: Path) -> str:
    for magic, name in _OTHER_FILES:
        if head.startswith(magic):
            return name
    if head[257:262] == b"ustar":
        return "a tar archive"
    if head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05":
        return "a plain Python pickle (not written by torch.save, and never opened: unpickling runs code)"
    if len(head) >= 9 and head[8:9] == b"{":
        return "a truncated safetensors file"
    return _name_text(head) or f"a file of an unknown kind ({path.stat().st_size} bytes)"


def _name_text(head: bytes) -> str:
    if b"\0" in head:
        return ""
    try:
        text = head.decode("utf-8", errors="strict" if len(head) < 4096 else "ignore")
    except UnicodeDecodeError:
        return ""
    opening = text.lstrip("\ufeff \t\r\n").lower()
    if opening.startswith(("<!doctype html", "<html")):
        return "an HTML page (perhaps of a failed download)"
    return "a JSON file" if opening.startswith(("{", "[")) else "a text file"
