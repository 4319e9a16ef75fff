"""``--dry-run``: the contents of the checkpoint, its layers, and the files that would be written."""

from __future__ import annotations

from typing import Any

from vgg_export.planning.plan import Plan
from vgg_export.planning.preprocess_search.findings import table_as_text
from vgg_models import LayerTable, layer_table
from vgg_runtime._internal.json_codec import to_json

__all__ = ["plan_as_json", "plan_as_lines"]


def plan_as_json(plan: Plan) -> dict[str, Any]:
    """Return everything that is known before the export, for JSON."""
    table = _table(plan)
    return {
        "architecture": to_json(plan.loaded.architecture) | {"assumptions": list(plan.assumptions)},
        "checkpoint": to_json(plan.loaded.checkpoint)
        | {"notes": list(plan.source_notes), "remarks": list(plan.remarks)},
        "input": to_json(plan.variants_input),
        "classes": plan.loaded.num_classes,
        "preprocessing": to_json(plan.preprocessing),
        "preprocessing_search": to_json(plan.search),
        "labels": to_json(plan.labels),
        "layers": to_json(table.rows),
        "totals": {"parameters": table.parameters, "bytes": table.bytes, "macs": table.macs},
        "would_write": [spec.file for spec in plan.variant_specs],
    }


def plan_as_lines(plan: Plan) -> list[str]:
    """Return the same as lines of text: the network, the layer table, the files."""
    loaded, (height, width) = plan.loaded, plan.input_spec.size
    embedded = ", as uint8 pixels in NHWC order" if plan.options.embed_preprocessing else ""
    return [
        f"architecture  {loaded.architecture.name}: {loaded.architecture.description} ({loaded.architecture.origin})",
        f"checkpoint    {loaded.checkpoint.kind}",
        *(f"              {note}" for note in plan.source_notes),
        f"input         {loaded.input_channels} x {height} x {width}{embedded}",
        f"classes       {loaded.num_classes}",
        *(f"because       {reason}" for reason in loaded.architecture.reasons),
        "",
        *_layer_lines(_table(plan)),
        "",
        *([] if plan.search is None else [*table_as_text(plan.search), ""]),
        *(f"would write   {spec.file}" for spec in plan.variant_specs),
    ]


def _table(plan: Plan) -> LayerTable:
    return layer_table(plan.loaded.module, (plan.loaded.input_channels, *plan.input_spec.size))


def _layer_lines(table: LayerTable) -> list[str]:
    width = max(len(row.name) for row in table.rows)
    lines = [f"{'layer':<{width}}  {'type':<18}{'output':>16}{'parameters':>14}{'MB':>9}{'MMAC':>11}"]
    for row in table.rows:
        shape = " x ".join(map(str, row.output_shape))
        lines.append(
            f"{row.name:<{width}}  {row.type:<18}{shape:>16}{row.parameters:>14,}{row.bytes / 1e6:>9.2f}"
            f"{row.macs / 1e6:>11.1f}"
        )
    total = f"{table.parameters:>14,}{table.bytes / 1e6:>9.2f}{table.macs / 1e6:>11.1f}"
    return [*lines, f"{'total':<{width}}  {'':<18}{'':>16}{total}"]
