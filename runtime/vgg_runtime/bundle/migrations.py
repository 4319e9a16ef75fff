"""Manifests of earlier schema versions, brought up to the present one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

__all__ = ["MIGRATIONS", "SCHEMA_VERSION", "migrate"]

SCHEMA_VERSION: Final = 1

# By schema version, what turns the JSON of a manifest into that of the next version; `schema_version` itself is set
# afterwards.
MIGRATIONS: Final[dict[int, Callable[[dict[str, Any]], dict[str, Any]]]] = {}


def migrate(data: Any) -> Any:
    """Return the JSON of a manifest as the present schema has it; as it is where no migration leads there.

    Raises:
        ValueError: it is not the manifest of the version that it states.
    """
    while isinstance(data, dict) and (version := _version(data)) in MIGRATIONS:
        try:
            data = {**MIGRATIONS[version](data), "schema_version": version + 1}
        except (LookupError, TypeError, AttributeError) as error:  # nothing in it has been checked yet
            raise ValueError(f"it does not have the form of schema version {version}") from error
    return data


def _version(manifest: dict[str, Any]) -> int:
    """The version that a manifest states: 1 if it states none, 0 if that is not an integer."""
    version = manifest.get("schema_version", 1)
    return version if type(version) is int else 0
