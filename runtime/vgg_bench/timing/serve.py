"""The measured side of a benchmark: times calls on request."""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable
from typing import Any, Literal

__all__ = ["image_like_batch", "serve"]


# A subject is steady once this many calls in a row were not faster than the fastest so far by more than this share, and
# the processor has had this many seconds to raise its frequency.
STEADY_CALLS, STEADY_SHARE, MIN_WARM_UP_S = 2, 0.02, 0.05


def serve(
    call: Callable[[], object],
    *,
    load_s: float = 0.0,
    device: Literal["cpu", "cuda"] = "cpu",
    gpu_before: float | None = None,
    copy: Callable[[], object] | None = None,
    classify: Callable[[str], list[int]] | None = None,
) -> None:
    """Answer requests on stdin until it closes, timing ``call``.

    Args:
        load_s: seconds that opening the model took.
        device: the device to measure energy and memory of.
        gpu_before: MB of the device in use before opening.
        copy: only the copies of one call to and from the device.
        classify: returns the best class of each image in a file.
    """
    call()
    _reply({"load_s": load_s})
    for line in sys.stdin:
        request = json.loads(line)
        if classify is not None and "classify" in request:
            _reply({"classes": classify(request["classify"])})
        else:
            _reply(_turn(call, request, device, gpu_before) | {"copies_s": None if copy is None else _fastest(copy)})


def image_like_batch(shape: tuple[int, ...], dtype: str = "float32") -> Any:
    """Return a seeded batch with the spread of normalized images, or of pixels if ``dtype`` is "uint8".

    Latency does not depend on the values.
    """
    import numpy as np

    generator = np.random.default_rng(0)
    if dtype == "uint8":
        return generator.integers(0, 256, shape, dtype=np.uint8)
    return generator.standard_normal(shape, dtype=np.float32)


def _turn(
    call: Callable[[], object], request: dict[str, Any], device: Literal["cpu", "cuda"], gpu_before: float | None
) -> dict[str, Any]:
    from vgg_bench.timing import nvml
    from vgg_bench.timing.energy import joules_between, read_counters
    from vgg_bench.timing.memory import process_memory
    from vgg_runtime._internal.json_codec import to_json

    _warm_up(call)
    before = read_counters(device)
    latencies = _time(call, request["seconds"], request["min_calls"], request["max_calls"])
    joules = joules_between(before, read_counters(device))
    gpu_after = None if gpu_before is None else nvml.used_megabytes()
    return {
        "latencies": latencies,
        "energy_j": None if joules is None else joules / len(latencies),
        "memory": to_json(process_memory()),
        "gpu_mb": None if gpu_after is None else gpu_after - (gpu_before or 0.0),
    }


def _warm_up(call: Callable[[], object]) -> None:
    best, standing, begun = float("inf"), 0, time.perf_counter()
    while standing < STEADY_CALLS or time.perf_counter() - begun < MIN_WARM_UP_S:
        start = time.perf_counter()
        call()
        latency = time.perf_counter() - start
        standing = 0 if latency < best * (1 - STEADY_SHARE) else standing + 1
        best = min(best, latency)


def _time(call: Callable[[], object], seconds: float, min_calls: int, max_calls: int) -> list[float]:
    clock = time.perf_counter
    latencies: list[float] = []
    total = 0.0
    gc.collect()
    gc.disable()
    try:
        while len(latencies) < min_calls or (total < seconds and len(latencies) < max_calls):
            start = clock()
            call()
            latencies.append(clock() - start)
            total += latencies[-1]
    finally:
        gc.enable()
    return latencies


def _fastest(copy: Callable[[], object], calls: int = 20) -> float:
    return min(_time(copy, 0.0, calls, calls))


def _reply(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()
