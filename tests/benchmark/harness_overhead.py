"""What the benchmark's own timing costs: the worker's loop against a bare one, on a call of some milliseconds or less.

python tests/benchmark/harness_overhead.py [--milliseconds 1.0]

Both loops call the same function, in turns, and are timed from outside as a whole; the difference per call is what
the worker adds. It has to be under 1 % of a call of 1 ms.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from statistics import median

import click
import numpy as np

from vgg_bench.timing.serve import _time

CALLS, ROUNDS = 300, 15


def bare(call: Callable[[], object], calls: int) -> None:
    for _ in range(calls):
        call()


def call_of(milliseconds: float) -> Callable[[], object]:
    """Return a call that takes about so long, on one thread: the sum of an array, over and over."""
    array = np.ones(2**14, np.float32)
    start = time.perf_counter()
    bare(array.sum, 1000)
    repeats = max(1, round(milliseconds * 1e-3 / ((time.perf_counter() - start) / 1000)))

    def call() -> None:
        for _ in range(repeats):
            array.sum()

    return call


def seconds_of(loop: Callable[[], object]) -> float:
    gc.collect()
    gc.disable()
    try:
        start = time.perf_counter()
        loop()
        return time.perf_counter() - start
    finally:
        gc.enable()


@click.command()
@click.option("--milliseconds", default=1.0, show_default=True)
def main(milliseconds: float) -> None:
    call = call_of(milliseconds)
    nothing = [seconds_of(lambda: _time(lambda: None, 0.0, 10_000, 10_000)) / 10_000 for _ in range(5)]
    ratios, told = [], []
    for _ in range(ROUNDS):
        # gc.collect() at the start of the worker's loop is outside of every call that it times.
        bare_s = seconds_of(lambda: bare(call, CALLS)) / CALLS
        latencies = _time(call, 0.0, CALLS, CALLS)
        ratios.append(sum(latencies) / CALLS / bare_s)
        told.append(bare_s)
    click.echo(f"a call takes {median(told) * 1e3:.3f} ms in a bare loop")
    click.echo(f"the worker tells {median(ratios) - 1:+.2%} of that ({min(ratios) - 1:+.2%} to {max(ratios) - 1:+.2%})")
    click.echo(f"a call of nothing costs the worker {min(nothing) * 1e6:.2f} us, {min(nothing) / 1e-3:.3%} of 1 ms")


if __name__ == "__main__":
    main()
