"""Which classes and functions a pickle names, found by reading its opcodes and without running them."""

from __future__ import annotations

import io
import pickletools
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from pathlib import Path
from typing import IO

from vgg_models.checkpoint.container import Container
from vgg_runtime.errors import CheckpointError

__all__ = ["modern_name", "pickled_globals"]

# The old container is a row of pickles: magic number, protocol, system, the object, the storage keys.
_LEGACY_PICKLES = 5


def pickled_globals(path: Path, container: Container) -> tuple[str, ...]:
    """Return the full names (``collections.OrderedDict``), sorted, that the pickles of a torch.save file refer to.

    Raises:
        CheckpointError: the pickle is of a protocol that torch's safe loader does not read.
        ValueError: the pickle is damaged.
    """
    if container is Container.TORCH_ZIP:
        return tuple(sorted(_globals_of_one_pickle(io.BytesIO(_data_pickle(path)))))
    with path.open("rb") as file:
        return tuple(sorted(name for _ in range(_LEGACY_PICKLES) for name in _globals_of_one_pickle(file)))


def _data_pickle(path: Path) -> bytes:
    with zipfile.ZipFile(path) as archive:
        (name,) = (name for name in archive.namelist() if name.partition("/")[2] == "data.pkl")
        return archive.read(name)


def _globals_of_one_pickle(file: IO[bytes]) -> set[str]:
    names: set[str] = set()
    for opcode, argument, _ in pickletools.genops(file):
        if opcode.name in ("GLOBAL", "INST"):
            module, _, name = str(argument).partition(" ")
            names.add(modern_name(module, name))
        elif opcode.name == "STACK_GLOBAL":
            raise CheckpointError(
                "the checkpoint was saved with pickle protocol 4 or newer; torch's safe loader reads protocol 2.",
                hint="Save it again without pickle_protocol: torch.save(model.state_dict(), path).",
            )
    return names


def modern_name(module: str, name: str) -> str:
    """Return the full name that Python 3 has for it: protocol 2 still writes Python 2's names of modules."""
    module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
    return f"{module}.{name}"
