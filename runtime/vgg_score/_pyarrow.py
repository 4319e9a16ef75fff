"""The only import of pyarrow, which Parquet needs and predicting does not."""

from __future__ import annotations

from typing import Any

from vgg_runtime.errors import MissingCapabilityError

__all__ = ["import_pyarrow"]


def import_pyarrow() -> Any:
    """Return ``pyarrow``, with ``pyarrow.parquet`` imported.

    Raises:
        MissingCapabilityError: it is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet
    except ImportError as error:
        raise MissingCapabilityError(
            "Parquet needs pyarrow, which is not installed.",
            hint='pip install "vgg-deploy[score]", or write another `format`: jsonl or csv.',
        ) from error
    return pa
