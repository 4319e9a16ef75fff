"""The process of one backend in the trial: compares it with the golden outputs, then times calls on request.

    python -m vgg_runtime._autoselect_worker BUNDLE VARIANT BACKEND DEVICE THREADS PROFILE [KEY]

Each line on stdin asks for a turn of timed calls, and is answered by their latencies in seconds as a line of JSON. If
the backend does not reproduce the golden outputs, the last line on stderr is the reason.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import cast

import numpy as np

from vgg_runtime.autoselect import REFUSED
from vgg_runtime.backends.base import ProfileName
from vgg_runtime.bundle.directory import open_bundle
from vgg_runtime.classifier import DEFAULT_BATCH_SIZE, Classifier
from vgg_runtime.errors import SelfTestError, VggDeployError
from vgg_runtime.verification import golden_mismatches

__all__: list[str] = []

# In a turn, calls that begin within WARM_UP_S, while the processor raises its frequency, are not counted.
SECONDS, MIN_CALLS, WARM_UP_S = 0.2, 3, 0.05


def main(  # noqa: PLR0917 - from sys.argv
    directory: str,
    variant: str,
    backend: str,
    device: str,
    threads: str,
    profile: str,
    key: str | None = None,
) -> None:
    """Time ``Classifier.logits`` on one image; on a batch if that is what the profile is for."""
    bundle = open_bundle(directory, key=key)
    with Classifier.open(
        directory,
        variant=variant,
        backend=backend,
        device=device,
        threads=int(threads),
        profile=cast("ProfileName", profile),
        verify=key is not None,  # without one, it is enough that the parent process has done so
        key=key,
        allow_any_operator=True,  # the parent process has looked at them
    ) as classifier:
        if misses := golden_mismatches(bundle, classifier):
            raise SelfTestError(f"its outputs differ from the golden ones: {', '.join(misses)}")
        input_spec = bundle.manifest.input
        size = input_spec.batch_size or (DEFAULT_BATCH_SIZE if profile == "throughput" else 1)
        batch = np.ones((size, *input_spec.image_shape), input_spec.dtype)  # latency does not depend on the values
        classifier.logits(batch)
        for _ in sys.stdin:
            print(json.dumps(_latencies(lambda: classifier.logits(batch))), flush=True)


def _latencies(call: Callable[[], object]) -> list[float]:
    latencies: list[float] = []
    begun = end = time.perf_counter()
    while len(latencies) < MIN_CALLS or end - begun < WARM_UP_S + SECONDS:
        start = time.perf_counter()
        call()
        end = time.perf_counter()
        if start - begun >= WARM_UP_S:
            latencies.append(end - start)
    return latencies


def run(arguments: Sequence[str]) -> None:
    """Run ``main``, and report what is wrong with the backend in the way that the parent process expects."""
    try:
        main(*arguments)
    except Exception as error:  # whatever the engine raises
        sys.stderr.write(error.message if isinstance(error, VggDeployError) else str(error) or type(error).__name__)
        sys.exit(REFUSED)


if __name__ == "__main__":
    run(sys.argv[1:])
