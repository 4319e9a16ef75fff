"""What there is to say of a quantized variant, line by line."""

from __future__ import annotations

from vgg_runtime.bundle.manifest import Variant

__all__ = ["variant_notes"]


def variant_notes(variant: Variant, *, max_names: int | None = None) -> list[str]:
    """Return the notes on ``variant``, with the layers that stayed in float by name.

    Args:
        max_names: the most layers to name; None names them all.
    """
    if not variant.in_float:
        return list(variant.notes)
    names = list(variant.in_float[:max_names])
    if len(names) < len(variant.in_float):
        names.append("...")
    total = "" if variant.layers is None else f" of {variant.layers}"
    return [*variant.notes, f"in float: {len(variant.in_float)}{total} layers ({', '.join(names)})"]
