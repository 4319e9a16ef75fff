"""The report of ``--preprocess find``: the table of candidates, the assumptions, or why none is chosen."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields

from vgg_bench.results import Estimate
from vgg_export.planning.preprocess_search.ranking import PreprocessingSearch, Trial
from vgg_runtime._internal.json_codec import to_json
from vgg_runtime.errors import PreprocessingError
from vgg_runtime.imaging.preprocessing import Preprocessing
from vgg_runtime.imaging.presets import PRESETS

__all__ = ["HEADINGS", "findings", "require_clear", "table_as_text", "table_rows"]

HEADINGS = ("preprocessing", "accuracy", "95 % interval", "points below the best", "")

# The number of candidates that a refusal offers to the user.
CHOICES = 4


def require_clear(search: PreprocessingSearch) -> None:
    """Refuse to choose if the samples do not show which preprocessing is right.

    Raises:
        PreprocessingError: no candidate is better than chance, several may be the best, or only an inversion of the
            images is.
    """
    if not search.beats_chance:
        problem = (
            f"the network answers no better than chance with any preprocessing: always answering "
            f"{search.common_class!r} would be right on {search.chance:.1%} of these samples"
        )
        hint = "Check that the weights are trained, that `labels` has the order of the outputs, and `input_size`."
    elif all(trial.inverted for trial in search.contenders):
        problem = "the network answers best on inverted images (255 - x), which `preprocess` cannot describe"
        hint = (
            "Invert the images before they are classified (PIL.ImageOps.invert), samples included; or put 1 - x in "
            "front of the network: `model='MODULE:CALLABLE'`."
        )
    elif len(search.contenders) > 1:
        problem = f"the samples do not tell {len(search.contenders)} ways of preprocessing apart"
        hint = "\n       ".join(["Give more labelled samples, or choose one:", *_choices(search)])
    else:
        return
    table = "\n".join(f"  {line}" for line in table_as_text(search))
    raise PreprocessingError(f"{problem} ({search.images} images):\n{table}", hint=hint)


def findings(search: PreprocessingSearch, *, sample_count: int, held_out: bool) -> Iterator[str]:
    """Yield the assumptions of the export after a clear search, as lines of text.

    Args:
        sample_count: number of samples that the export is verified on.
        held_out: whether none of them was used for the search.
    """
    best, runner_up = search.best, search.runner_up
    rival = "" if runner_up is None else f"; next: {runner_up.name}, {runner_up.accuracy.value:.1%}"
    yield (
        f"preprocessing found: {best.name} ({_as_file(best.preprocessing)}): {best.accuracy.value:.1%} "
        f"({_percentages(best.accuracy)}) on {search.images} labelled samples{rival}"
    )
    if search.same_answers:
        others = ", ".join(trial.name for trial in search.same_answers)
        yield f"training used {best.name}, the most usual of those with the same answers on every sample: {others}"
    if held_out:
        yield f"the {sample_count} samples that the variants are verified on were kept out of the search"
    else:
        yield (
            "accuracy is measured on the samples that chose the preprocessing, so other images may show somewhat less "
            "(of 200 samples or more, half are kept out of the search)"
        )


def table_rows(search: PreprocessingSearch) -> list[tuple[str, ...]]:
    """Return the cells below HEADINGS, one row per candidate, from best to worst."""
    return [
        (
            trial.name,
            f"{trial.accuracy.value:.1%}",
            _percentages(trial.accuracy),
            f"{trial.lead.value * 100:.1f} ({_percentages(trial.lead)})" if trial is not search.best else "",
            trial.outcome,
        )
        for trial in search.trials
    ]


def table_as_text(search: PreprocessingSearch) -> list[str]:
    """Return the table as lines of text."""
    rows = [HEADINGS, *table_rows(search)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _percentages(estimate: Estimate) -> str:
    low, high = estimate.interval or (estimate.value, estimate.value)
    return f"{low * 100:.1f} to {high * 100:.1f}"


def _choices(search: PreprocessingSearch) -> list[str]:
    """The options that select the most accurate candidates; there are none for inverted ones."""
    rivals = [trial for trial in search.contenders if not trial.inverted]
    return [_option(trial) for trial in rivals[:CHOICES]]


def _option(trial: Trial) -> str:
    preset = next((name for name in trial.names if name in PRESETS), None)
    if preset is not None:
        return f"`preprocess='{preset}'`"
    return f"`preprocess='FILE.json'`, with {_as_file(trial.preprocessing)} in that file"


def _as_file(preprocessing: Preprocessing) -> str:
    """Return ``preprocessing`` as the contents of a JSON file for --preprocess."""
    description = {
        field.name: to_json(value)
        for field in fields(preprocessing)
        if (value := getattr(preprocessing, field.name)) != field.default
    }
    return json.dumps(description)
