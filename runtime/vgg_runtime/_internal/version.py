"""The version of the distribution: pyproject.toml's, read back from what pip installed."""

from __future__ import annotations

__all__ = ["distribution_version"]

# PEP 440's form for a source tree that nobody installed.
UNKNOWN = "0+unknown"


def distribution_version() -> str:
    """Return the version of the installed vgg-deploy, or "0+unknown" in a source tree that is not installed."""
    from importlib.metadata import PackageNotFoundError, version  # 15 ms, which no prediction should wait for

    try:
        return version("vgg-deploy")
    except PackageNotFoundError:
        return UNKNOWN
