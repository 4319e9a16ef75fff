"""The measured process: opens one thing, then times calls of it on request.

    python -m vgg_runtime.benchmark.worker BUNDLE --variant V | --file F | --checkpoint F ...

Protocol, one JSON object per line. On stdout first, once it has answered, ``{"load_s": S}``. Then each
``{"seconds": S, "least": N, "most": N}`` on stdin is answered with what :class:`~.worker_process.Turn` holds, and each
``{"classify": FILE}`` with ``{"classes": [...]}``, the best class of each image in a ``.npy`` file.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from vgg_runtime.errors import BundleError, VggDeployError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vgg_runtime.bundle import Bundle
    from vgg_runtime.manifest import Input, Prepared

__all__ = ["image_like_batch", "serve"]

# A subject is steady once this many calls in a row were no faster than the fastest so far, by more than this share,
# and the processor had this many seconds to raise its frequency.
STEADY_CALLS, STEADY_SHARE, LEAST_WARM_UP = 2, 0.02, 0.05

Run = Callable[["Prepared"], "NDArray[np.float32]"]


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
        load_s: seconds that opening took.
        device: whose energy and memory are counted.
        gpu_before: MB of the device that were taken before opening.
        copy: copies what one call copies to and from the device, and nothing else.
        classify: the best class of each image in a file.
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
    """Return a seeded batch with the spread of normalized images, or of pixels where ``dtype`` is "uint8".

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
    from vgg_runtime.benchmark import nvml
    from vgg_runtime.benchmark.energy import joules_between, read_counters
    from vgg_runtime.benchmark.memory import process_memory
    from vgg_runtime.json_dataclass import to_json

    _warm_up(call)
    before = read_counters(device)
    latencies = _time(call, request["seconds"], request["least"], request["most"])
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
    while standing < STEADY_CALLS or time.perf_counter() - begun < LEAST_WARM_UP:
        start = time.perf_counter()
        call()
        latency = time.perf_counter() - start
        standing = 0 if latency < best * (1 - STEADY_SHARE) else standing + 1
        best = min(best, latency)


def _time(call: Callable[[], object], seconds: float, least: int, most: int) -> list[float]:
    clock = time.perf_counter
    latencies: list[float] = []
    total = 0.0
    gc.collect()
    gc.disable()
    try:
        while len(latencies) < least or (total < seconds and len(latencies) < most):
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


def _classes(run: Run, file: str, batch_size: int) -> list[int]:
    """The best class of each image in ``file``, in batches of the one size that the model may be fixed to."""
    import numpy as np

    images = np.load(file, mmap_mode="r", allow_pickle=False)
    classes: list[int] = []
    for start in range(0, len(images), batch_size):
        part = images[start : start + batch_size]
        padded = np.concatenate([part, np.repeat(part[-1:], batch_size - len(part), axis=0)])
        classes += run(padded)[: len(part)].argmax(axis=1).tolist()
    return classes


def _open(
    bundle: Bundle,
    variant: str | None,
    file: Path | None,
    checkpoint: Path | None,
    *,
    backend: str | None,
    device: Literal["cpu", "cuda"],
    threads: int,
) -> Run:
    """Open one of the three; a variant by the class that users open it by, so that its checks are in the figures."""
    from vgg_runtime.backends import Placement, open_backend
    from vgg_runtime.benchmark.checkpoint_in_pytorch import open_checkpoint
    from vgg_runtime.classifier import Classifier

    placement = Placement(device, threads)
    if checkpoint is not None:
        return open_checkpoint(backend or "eager", checkpoint, placement, bundle.manifest).run
    if file is not None:
        lone = open_backend(backend or "onnxruntime", file, placement)
        _refuse_another_input(file, lone.metadata, bundle.manifest.input)
        return lone.run
    return Classifier.open(bundle.directory, variant=variant, device=device, threads=threads, backend=backend).logits


def _refuse_another_input(file: Path, metadata: Mapping[str, str], expected: Input) -> None:
    from vgg_runtime.embedded_manifest import METADATA_KEY
    from vgg_runtime.manifest import Manifest

    if METADATA_KEY in metadata:
        found = Manifest.parse(metadata[METADATA_KEY], source=f"the metadata of {file}").input
        if (found.dtype, found.image_shape) != (expected.dtype, expected.image_shape):
            raise BundleError(
                f"{file} takes {found.dtype} {list(found.image_shape)}, the bundle's variants {expected.dtype} "
                f"{list(expected.image_shape)}: these do not compare."
            )


@click.command()
@click.argument("bundle")
@click.option("--variant")
@click.option("--file", type=click.Path(path_type=Path), help="A lone model in place of a variant.")
@click.option("--checkpoint", type=click.Path(path_type=Path), help="The bundle's checkpoint in place of a variant.")
@click.option("--backend", help="By default that of the variant's format.")
@click.option("--batch-size", type=int, default=1)
@click.option("--threads", type=int)
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu")
def main(bundle: str, batch_size: int, threads: int | None, device: Any, **what: Any) -> None:
    """Time one model on images of the bundle's shape."""
    from vgg_runtime.benchmark import nvml
    from vgg_runtime.bundle import open_bundle
    from vgg_runtime.threads import available_threads

    gpu_before = nvml.used_megabytes() if device == "cuda" else None
    begun = time.perf_counter()
    opened = open_bundle(bundle)
    run = _open(opened, **what, device=device, threads=threads or available_threads())
    load_s = time.perf_counter() - begun
    takes = opened.manifest.input
    size = takes.batch_size or batch_size
    batch = image_like_batch((size, *takes.image_shape), takes.dtype)
    copy = None
    if device == "cuda":
        from vgg_runtime.benchmark.cuda_copies import copies_of

        copy = copies_of(batch, opened.manifest.output.classes)
    serve(
        lambda: run(batch),
        load_s=load_s,
        device=device,
        gpu_before=gpu_before,
        copy=copy,
        classify=partial(_classes, run, batch_size=size),
    )


if __name__ == "__main__":
    try:
        main(standalone_mode=False)
    except VggDeployError as error:
        sys.stderr.write(error.message)  # without its hint: who started this process shows the last line
        sys.exit(error.exit_code)
