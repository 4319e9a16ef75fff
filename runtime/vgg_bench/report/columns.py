"""The columns of the table on the terminal and on the page, one line each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from vgg_bench.formatting import format_number, interval
from vgg_bench.results import Estimate, Results, Row

__all__ = ["COLUMNS", "SETTINGS", "Column", "sorted_rows", "visible_columns", "visible_settings"]


@dataclass(frozen=True)
class Column:
    """A figure of a row.

    Attributes:
        title: with its unit.
        about: its meaning, in a sentence.
        value: to sort by; None if the row has no such figure.
        text: how a value is shown.
        detail: whether the terminal, where space is scarce, leaves it out.
    """

    title: str
    about: str
    value: Callable[[Row], float | None]
    text: Callable[[Row], str]
    detail: bool = False


def _estimate(
    title: str, about: str, of: Callable[[Row], Estimate | None], form: Callable[[Estimate], str] = interval
) -> Column:
    """A column of a value with its interval."""
    return Column(
        title,
        about,
        value=lambda row: None if (estimate := of(row)) is None else estimate.value,
        text=lambda row: "" if (estimate := of(row)) is None else form(estimate),
    )


def _number(
    title: str,
    about: str,
    of: Callable[[Row], float | None],
    form: Callable[[float], str] = format_number,
    *,
    detail: bool = False,
) -> Column:
    """A column of a value without an interval."""
    return Column(title, about, of, lambda row: "" if (value := of(row)) is None else form(value), detail)


def _throughput(row: Row) -> float | None:
    return row.latency.images_per_second.value if row.latency else None


def _percent(share: float) -> str:
    return f"{share:.1%}"


def _accuracy(accuracy: Estimate) -> str:
    assert accuracy.interval is not None  # Wilson's interval needs one image only
    low, high = accuracy.interval
    return f"{accuracy.value:.1%} ({low:.1%}-{high:.1%})"


def _p99(row: Row) -> float | None:
    return row.latency.p99.value if row.latency and row.latency.p99 else None


def _whole_percent(share: float) -> str:
    return f"{share:.0%}"


# Shown only if a run has more than one of them.
SETTINGS: tuple[Column, ...] = (
    _number("batch", "Images per call.", lambda row: row.subject.batch_size, str),
    _number("threads", "CPU threads of one call.", lambda row: row.subject.threads, str),
)

COLUMNS: tuple[Column, ...] = (
    _number("size MB", "Files of the variant, in 10^6 bytes.", lambda row: row.bytes / 1e6),
    _estimate("p50 ms", "Median latency of one call.", lambda row: row.latency.p50 if row.latency else None),
    _number(
        "copies ms",
        "The part of it that the copies to the device and back take.",
        lambda row: row.latency.copies.value if row.latency and row.latency.copies else None,
    ),
    _estimate("ratio", "Latency relative to the baseline, compared within rounds.", lambda row: row.ratio),
    _number("agrees", "Same best class as eager PyTorch.", lambda row: row.quality.top1_agreement, _percent),
    _estimate("accuracy", "Right answers on the labelled samples.", lambda row: row.quality.accuracy, _accuracy),
    _number("start s", "Until the first answer.", lambda row: row.cold_start_s.value if row.cold_start_s else None),
    _number("peak MB", "Peak resident memory.", lambda row: row.memory.peak if row.memory else None),
    _number(
        "private MB",
        "Memory after the last call that no file backs.",
        lambda row: row.memory.private if row.memory else None,
        detail=True,
    ),
    _number("GPU MB", "Memory of the device.", lambda row: row.memory.gpu if row.memory else None),
    _number(
        "of limit",
        "Roofline for float32 over the median latency; 8-bit arithmetic may exceed 100%.",
        lambda row: row.roofline.share if row.roofline else None,
        _whole_percent,
    ),
    _number("p99 ms", "99th percentile, of 100 calls or more.", _p99, detail=True),
    _number("images/s", "Of calls one after another.", _throughput, detail=True),
    _number("SNR dB", "Signal-to-noise against eager PyTorch.", lambda row: row.quality.snr_db, detail=True),
    _number("J", "Energy of one call, in joules.", lambda row: row.energy_j),
)


def visible_settings(results: Results) -> tuple[Column, ...]:
    """Return the columns of settings that differ."""
    return tuple(column for column in SETTINGS if len({column.value(row) for row in results.measured}) > 1)


def visible_columns(results: Results) -> tuple[Column, ...]:
    """Return the columns of figures that at least one row has."""
    return tuple(column for column in COLUMNS if any(column.value(row) is not None for row in results.measured))


def sorted_rows(rows: Iterable[Row]) -> list[Row]:
    """Return the rows that did not fail, by batch size and threads, the fastest first."""
    measured = [(row, row.latency.p50.value) for row in rows if row.latency is not None]
    measured.sort(key=lambda pair: (pair[0].subject.batch_size, pair[0].subject.threads, pair[1]))
    return [row for row, _ in measured]
