from __future__ import annotations

from dataclasses import replace

import pytest

from vgg_bench.formatting import format_number, interval
from vgg_bench.report.columns import sorted_rows, visible_columns, visible_settings
from vgg_bench.results import Estimate


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.01234, "0.0123"),
        (0.602, "0.602"),
        (41.26, "41.3"),
        (525.4, "525"),
        (1360.2, "1,360"),
        (-3.14159, "-3.14"),
    ],
)
def test_three_digits_and_no_exponent(value: float, text: str) -> None:
    assert format_number(value) == text


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (Estimate(41.26, 40.9, 41.9), "41.3 (40.9-41.9)"),
        (Estimate(525.1, 524.9, 525.4), "525.1 (524.9-525.4)"),
        (Estimate(1.0, 1.0, 1.0), "1.00"),
        (Estimate(0.4, None, None), "0.400 (no interval)"),
    ],
)
def test_an_interval_is_told_as_precisely_as_it_takes(estimate: Estimate, text: str) -> None:
    assert interval(estimate) == text


def test_columns_are_shown_where_they_differ_or_have_values(make_results) -> None:
    titles = [column.title for column in visible_columns(make_results())]
    assert titles[:4] == ["size MB", "p50 ms", "ratio", "agrees"]
    assert not {"GPU MB", "copies ms", "J"} & set(titles)
    assert visible_settings(make_results()) == ()
    settings = visible_settings(make_results(settings=((1, 1), (8, 2))))
    assert [column.title for column in settings] == ["batch", "threads"]


def test_copies_to_a_device_are_a_column(make_results) -> None:
    results = make_results()
    copied = replace(results.rows[0].latency, copies=Estimate(0.25, 0.2, 0.3))
    results = replace(results, rows=(replace(results.rows[0], latency=copied), *results.rows[1:]))
    column = next(column for column in visible_columns(results) if column.title == "copies ms")
    assert [column.text(row) for row in results.rows[:2]] == ["0.250", ""]


def test_every_column_has_a_text_for_a_row_that_failed(make_results) -> None:
    results = make_results(failures={("onnx-fp32", "onnxruntime-cuda"): "no device"})
    failed = results.rows[-1]
    assert [column.text(failed) for column in visible_columns(results)] == [
        "138",
        *[""] * (len(visible_columns(results)) - 1),
    ]


def test_a_p99_that_is_not_known_is_blank(make_results) -> None:
    results = make_results()
    column = next(column for column in visible_columns(results) if column.title == "p99 ms")
    row = results.rows[0]
    assert column.text(row)
    assert column.text(replace(row, latency=replace(row.latency, p99=None))) == ""


def test_rows_go_by_setting_the_fastest_first(make_results) -> None:
    rows = sorted_rows(make_results(settings=((8, 2), (1, 2))).rows)
    assert [row.subject.batch_size for row in rows] == [1] * 11 + [8] * 11
    medians = [row.latency.p50.value for row in rows[:11]]
    assert medians == sorted(medians)
