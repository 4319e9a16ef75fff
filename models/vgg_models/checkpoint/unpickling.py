"""The classes and functions that a pickle names, found by reading its opcodes without running them."""

from __future__ import annotations

import io
import pickletools
import sys
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from torch import nn

from vgg_models.checkpoint.container import Container
from vgg_runtime.errors import CheckpointError, UnsafeCheckpointError

__all__ = ["StubModule", "is_stub", "modern_name", "pickled_globals", "substitutes"]


# The old container is a series of pickles: magic number, protocol, system, the object, the storage keys.
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
    """Return the full name in Python 3: protocol 2 still writes the module names of Python 2."""
    module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
    return f"{module}.{name}"


# Left to torch.load, which allows a handful of them and refuses the rest.
_RESERVED = frozenset({*sys.stdlib_module_names, "torch", "numpy"})

# Wrappers that are modules of torch, but outside torch.nn.modules: only their child `module` is needed.
_WRAPPERS = frozenset({"torch.nn.parallel.data_parallel.DataParallel"})

# What training loops save besides the weights. Each is read as an empty placeholder.
_PLACEHOLDERS = frozenset(
    {
        "argparse.Namespace",
        "datetime.date",
        "datetime.datetime",
        "datetime.time",
        "datetime.timedelta",
        "datetime.timezone",
        "numpy._core.multiarray._reconstruct",
        "numpy._core.multiarray.scalar",
        "numpy.core.multiarray._reconstruct",
        "numpy.core.multiarray.scalar",
        "numpy.dtype",
        "numpy.ndarray",
        "pathlib.Path",
        "pathlib.PosixPath",
        "pathlib.PurePosixPath",
        "pathlib.PureWindowsPath",
        "pathlib.WindowsPath",
    }
)


class _NeverCalled(type):
    """A class of which a pickle may create empty instances (``cls.__new__``), but which it must not call."""

    def __call__(cls, *args: object, **kwargs: object) -> Any:
        raise UnsafeCheckpointError(
            f"the checkpoint calls {cls.__module__}.{cls.__name__}; nothing in a checkpoint is ever executed.",
            hint="Save the weights alone: torch.save(model.state_dict(), path).",
        )


class StubModule(nn.Module, metaclass=_NeverCalled):
    """Replaces a user's class: keeps its children, parameters and attributes, but not its methods."""


class _Placeholder:
    """Replaces a value that is not needed. Accepts any state and keeps none of it."""

    def __init__(self, *args: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


def is_stub(module: nn.Module) -> bool:
    """Whether the module stands in for a class that is not available."""
    return isinstance(module, StubModule)


def substitutes(names: tuple[str, ...]) -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
    """Return (class, the name that it replaces) for those names that have a substitute."""
    pairs = ((_substitute(name), name) for name in names)
    return [(cls, name) for cls, name in pairs if cls is not None]


def _substitute(name: str) -> type | None:
    module, _, attribute = name.rpartition(".")
    if module.startswith("torch.nn.modules."):
        return _torch_layer(module, attribute)
    if name in _PLACEHOLDERS:
        # Messages call the value by its class name; numpy creates its arrays with that function.
        return type("ndarray" if attribute == "_reconstruct" else attribute, (_Placeholder,), {})
    if name in _WRAPPERS or module.partition(".")[0] not in _RESERVED:
        return type(attribute, (StubModule,), {"__module__": module})
    return None


def _torch_layer(module: str, attribute: str) -> type | None:
    # Only modules that torch itself has imported; a name in a file must not cause an import.
    cls = getattr(sys.modules.get(module), attribute, None)
    return _never_called(cls) if isinstance(cls, type) and issubclass(cls, nn.Module) else None


def _never_called(cls: type[nn.Module]) -> type:
    """A layer's class for a pickle, which fills an empty instance; a call would let it allocate any amount."""

    def become_the_layer(instance: nn.Module, state: dict[str, Any]) -> None:
        object.__setattr__(instance, "__class__", cls)
        instance.__setstate__(state)  # type: ignore[no-untyped-call]

    return _NeverCalled(cls.__name__, (cls,), {"__module__": cls.__module__, "__setstate__": become_the_layer})
