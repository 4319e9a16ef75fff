"""Notes on a quantized variant, line by line."""

from __future__ import annotations

from vgg_runtime.bundle.manifest import Variant

__all__ = ["variant_notes"]


def variant_notes(variant: Variant, *, max_names: int | None = None) -> list[str]:
    """Return the notes on ``variant``, with the names of layers that stayed in float.

    Args:
        max_names: maximum number of layers to name; None names all.
    """
    if not variant.in_float:
        return list(variant.notes)
    names = list(variant.in_float[:max_names])
    if len(names) < len(variant.in_float):
        names.append("...")
    total = "" if variant.layers is None else f" of {variant.layers}"
    return [*variant.notes, f"in float: {len(variant.in_float)}{total} layers ({', '.join(names)})"]
