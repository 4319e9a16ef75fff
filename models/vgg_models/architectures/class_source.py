"""The source file of a class that a checkpoint names, found by parsing and never imported."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

__all__ = ["ClassSource", "find_class_source"]

_MAX_FILES, _MAX_BYTES = 200, 1_000_000  # of a folder, and of one file


@dataclass(frozen=True)
class ClassSource:
    """A class in a file.

    Attributes:
        folder: folder to run Python in to import it.
        module: its name for an import from there, such as "my_nets".
        required: arguments that ``__init__`` needs.
    """

    folder: Path
    module: str
    name: str
    required: tuple[str, ...]

    @property
    def option(self) -> str:
        """The ``model`` to pass, with ``...`` for values that the user has to fill in, and where to run it."""
        call = f"{self.module}:{self.name}"
        if self.required:
            call += f"({', '.join(f'{name}=...' for name in self.required)})"
        elsewhere = self.folder.resolve() != Path.cwd()
        return f"`model={call!r}`" + f", in the folder {self.folder.resolve()}" * elsewhere


def find_class_source(module: str, name: str, folders: tuple[Path, ...]) -> ClassSource | None:
    """Return the first file that defines the class; None if there is none.

    Args:
        module: the one that the pickle names. Its file is searched first, then all others: the class may have moved,
            and ``__main__`` can be any file.
        folders: folders to search, without subfolders.
    """
    for folder in folders:
        for importable, path in _files(folder, module):
            definition = _definition(path, name)
            if definition is not None:
                return ClassSource(folder, importable, name, _required(definition))
    return None


def _files(folder: Path, module: str) -> Iterator[tuple[str, Path]]:
    """(name to import, path) of the Python files that may define the class."""
    parts = module.split(".")
    named = folder.joinpath(*parts).with_suffix(".py") if all(part.isidentifier() for part in parts) else folder
    yield module, named
    try:
        paths = sorted(islice(folder.glob("*.py"), _MAX_FILES))
    except OSError:
        return
    yield from ((path.stem, path) for path in paths if path != named and path.stem.isidentifier())


def _definition(path: Path, name: str) -> ast.ClassDef | None:
    try:
        if not path.is_file() or path.stat().st_size > _MAX_BYTES:
            return None
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):  # not importable Python
        return None
    return next((node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name), None)


def _required(definition: ast.ClassDef) -> tuple[str, ...]:
    functions = [node for node in definition.body if isinstance(node, ast.FunctionDef)]
    init = next((function for function in functions if function.name == "__init__"), None)
    if init is None:
        return ()
    positional = [argument.arg for argument in (*init.args.posonlyargs, *init.args.args)]
    without_default = positional[1 : len(positional) - len(init.args.defaults)]  # the first is self
    keywords = zip(init.args.kwonlyargs, init.args.kw_defaults, strict=True)
    return (*without_default, *(argument.arg for argument, default in keywords if default is None))
