"""Python processes of our own, started from this one."""

from __future__ import annotations

import sys

__all__ = ["module_command"]


def module_command(module: str) -> list[str]:
    """Return the command that runs ``module``, as ``python -m`` does; arguments may follow.

    It imports from the same folders as this process, except for the current one, which may hold anybody's files.
    """
    path = [folder for folder in sys.path if folder]
    start = f"import runpy, sys; sys.path[:] = {path!r}; runpy.run_module({module!r}, run_name='__main__')"
    return [sys.executable, "-P", "-c", start]
