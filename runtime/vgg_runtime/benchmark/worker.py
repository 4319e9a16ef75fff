"""The measured process: loads one thing, then times calls of it on request.

    python -m vgg_runtime.benchmark.worker BUNDLE [--variant V] [--batch-size N] [--threads N] [--device D]

Protocol, one JSON object per line: on stdout first ``{"ready": true}``. Then each ``{"seconds": S, "least": N}`` on
stdin is answered with ``{"latencies": [...]}`` in seconds, of at least N calls that took at least S seconds together.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import click

from vgg_runtime.errors import VggDeployError

__all__ = ["image_like_batch", "serve"]

WARM_UP_CALLS = 3


def serve(call: Callable[[], object]) -> None:
    """Answer requests on stdin until it closes, timing ``call``."""
    for _ in range(WARM_UP_CALLS):
        call()
    _reply({"ready": True})
    for line in sys.stdin:
        request = json.loads(line)
        _reply({"latencies": _time(call, request["seconds"], request["least"])})


def image_like_batch(shape: tuple[int, ...]) -> Any:
    """Return a seeded float32 batch with the spread of normalized images; latency does not depend on the values."""
    import numpy as np

    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def _time(call: Callable[[], object], seconds: float, least: int) -> list[float]:
    latencies: list[float] = []
    total = 0.0
    call()  # the caches are another subject's by now
    gc.collect()
    gc.disable()
    try:
        while len(latencies) < least or total < seconds:
            start = time.perf_counter()
            call()
            latencies.append(time.perf_counter() - start)
            total += latencies[-1]
    finally:
        gc.enable()
    return latencies


def _reply(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


@click.command()
@click.argument("bundle")
@click.option("--variant")
@click.option("--batch-size", type=int, default=1)
@click.option("--threads", type=int)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="cpu")
def main(bundle: str, variant: str | None, batch_size: int, threads: int | None, device: Any) -> None:
    """Time Classifier.logits of one variant."""
    from vgg_runtime.classifier import Classifier

    with Classifier.open(bundle, variant=variant, device=device, threads=threads, verify=False) as classifier:
        shape = classifier.manifest.input.shape
        batch = image_like_batch((classifier.manifest.input.batch_size or batch_size, *map(int, shape[1:])))
        serve(lambda: classifier.logits(batch))


if __name__ == "__main__":
    try:
        main()
    except VggDeployError as error:
        sys.exit(error.message)  # without its hint: who started this process shows the last line
