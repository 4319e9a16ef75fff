"""Public names of a package that are imported on first use, so that importing the package stays light."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["distribution_version", "lazy_names"]

# The version of a source tree that is not installed, in the form of PEP 440.
UNKNOWN = "0+unknown"


def lazy_names(package: str, modules: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the ``__getattr__`` and the ``__dir__`` of ``package`` (PEP 562); ``dir`` lists its ``__all__``.

    ``__version__`` is one of the names: reading the installed metadata takes as long as importing a small package.

    Args:
        modules: the module that defines each name.
    """

    def get(name: str) -> Any:
        if name == "__version__":
            return distribution_version()
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(modules[name]), name)

    return get, lambda: list(sys.modules[package].__all__)


def distribution_version() -> str:
    """Return the version of the installed vgg-deploy, or "0+unknown" in a source tree that is not installed."""
    from importlib.metadata import PackageNotFoundError, version  # takes 15 ms, which no prediction should wait for

    try:
        return version("vgg-deploy")
    except PackageNotFoundError:
        return UNKNOWN
