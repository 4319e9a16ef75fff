"""The rows of the output: one an image, with its classes or its error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vgg_runtime.classifier import Prediction
from vgg_runtime.errors import ImageError

__all__ = ["Row", "columns", "row"]

# A value for each of the columns; None where there is nothing to say.
Row = Mapping[str, Any]


def columns(ranks: int) -> dict[str, type]:
    """Return the names and types of the columns, for the ``ranks`` most probable classes of each image."""
    ranked = {"label": str, "index": int, "probability": float}
    by_rank = {f"{name}_{rank}": type_ for rank in range(1, ranks + 1) for name, type_ in ranked.items()}
    return {"id": str, **by_rank, "error": str}


def row(id_: str, result: list[Prediction] | ImageError, ranks: int) -> Row:
    """Return the row of one image."""
    values: dict[str, Any] = dict.fromkeys(columns(ranks)) | {"id": id_}
    if isinstance(result, ImageError):
        return values | {"error": " ".join(str(result).split())}
    for rank, prediction in enumerate(result, 1):
        values |= {
            f"label_{rank}": prediction.label,
            f"index_{rank}": prediction.index,
            f"probability_{rank}": prediction.probability,
        }
    return values
