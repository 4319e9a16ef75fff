from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from vgg_runtime.imaging.prefetch import prefetch


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("vgg-prefetch")]


def test_results_come_in_order_while_later_jobs_are_done_first() -> None:
    second_is_done = threading.Event()

    def first() -> int:
        assert second_is_done.wait(timeout=30)
        return 1

    def second() -> int:
        second_is_done.set()
        return 2

    assert list(prefetch([first, second], workers=2, ahead=2)) == [1, 2]


def test_no_more_jobs_are_taken_than_there_is_room_for() -> None:
    started = []

    def jobs() -> Iterator[Callable[[], int]]:
        for number in range(100):
            started.append((number, threading.get_ident()))
            yield partial(int, number)

    results = prefetch(jobs(), workers=2, ahead=3)
    assert started == []
    assert [next(results), next(results)] == [0, 1]
    assert [number for number, _ in started] == [0, 1, 2, 3, 4]
    assert {thread for _, thread in started} == {threading.get_ident()}
    assert list(results) == list(range(2, 100))


def test_an_error_comes_in_its_place() -> None:
    results = prefetch([partial(int, "1"), partial(int, "two"), partial(int, "3")], workers=2, ahead=3)
    assert next(results) == 1
    with pytest.raises(ValueError, match="two"):
        next(results)
    assert threads() == []


def test_the_threads_end_where_the_results_are_left() -> None:
    results = prefetch([partial(int, "1")] * 50, workers=3, ahead=5)
    next(results)
    assert threads() != []
    results.close()  # type: ignore[attr-defined]
    assert threads() == []


def test_the_threads_end_where_the_jobs_break_off() -> None:
    def jobs() -> Iterator[Callable[[], int]]:
        yield partial(int, "1")
        raise KeyError("the second job")

    with pytest.raises(KeyError, match="the second job"):
        list(prefetch(jobs(), workers=2, ahead=4))
    assert threads() == []


def test_without_jobs_there_are_no_results() -> None:
    assert list(prefetch([], workers=1, ahead=1)) == []
