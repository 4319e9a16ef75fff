from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vgg_bench.report.charts import Scale

VALUES = st.lists(st.floats(1e-2, 1e4), min_size=1, max_size=9)


@given(VALUES)
def test_every_value_lies_on_its_axis_in_order(values: list[float]) -> None:
    for axis in (Scale.around(values), Scale.from_zero(values)):
        places = [axis.percent(value) for value in sorted(values)]
        assert places == sorted(places)
        assert places[0] >= 0
        assert places[-1] <= 100


@given(VALUES)
def test_ticks_lie_inside_and_are_few(values: list[float]) -> None:
    for axis in (Scale.around(values), Scale.from_zero(values)):
        ticks = axis.ticks()
        assert 2 <= len(ticks) <= 8
        assert ticks == sorted(set(ticks))
        assert axis.low * (1 - 1e-9) <= ticks[0]
        assert ticks[-1] <= axis.high * (1 + 1e-9)


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ((78.5, 553.5), ["100", "200", "500"]),
        ((39.8, 525), ["50", "100", "200", "500"]),
        ((97.5, 105.2), ["98", "100", "102", "104"]),
        ((1, 2e5), ["1", "10", "100", "1,000", "10,000", "100,000"]),
    ],
)
def test_round_ticks(values: tuple[float, ...], texts: list[str]) -> None:
    assert [text for _, text in Scale.around(values, margin=0.03).labelled_ticks()] == texts


def test_what_lies_outside_is_put_at_the_end() -> None:
    assert [Scale(1, 100, logarithmic=True).percent(value) for value in (0, 1, 10, 100, 1e9)] == [0, 0, 50, 100, 100]


def test_bars_start_at_zero() -> None:
    axis = Scale.from_zero([4.0])
    assert axis.percent(0) == 0
    assert [text for _, text in axis.labelled_ticks()] == ["0", "1", "2", "3", "4"]


def test_nothing_to_show_makes_an_axis_all_the_same() -> None:
    assert Scale.around([]).ticks()
    assert Scale.from_zero([]).percent(0.5) == 50
