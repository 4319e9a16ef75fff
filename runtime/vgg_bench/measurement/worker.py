"""The measured process: opens one thing, then times calls of it on request.

    python -m vgg_bench.measurement.worker BUNDLE --variant V | --file F | --checkpoint F ...

Protocol, one JSON object per line. On stdout first, once it has answered, ``{"load_s": S}``. Then each
``{"seconds": S, "min_calls": N, "max_calls": N}`` on stdin is answered with what
:class:`~vgg_bench.timing.process.Turn` holds, and each ``{"classify": FILE}`` with ``{"classes": [...]}``, the best
class of each image in a ``.npy`` file.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vgg_bench.timing.serve import image_like_batch, serve
from vgg_runtime.errors import BundleError, VggDeployError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vgg_runtime.backends.base import SessionConfig
    from vgg_runtime.bundle.directory import Bundle
    from vgg_runtime.bundle.manifest import InputArray, InputSpec

__all__: list[str] = []


Run = Callable[["InputArray"], "NDArray[np.float32]"]


def _classes(run: Run, file: str, batch_size: int) -> list[int]:
    """The best class of each image in ``file``, run in batches of the model's size."""
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
    config: SessionConfig,
) -> Run:
    """Open one of the three; a variant through ``Classifier``, so that the figures include its checks."""
    from vgg_bench.measurement.pytorch import open_checkpoint
    from vgg_runtime.backends.registry import open_backend
    from vgg_runtime.classifier import Classifier

    if checkpoint is not None:
        return open_checkpoint(backend or "eager", checkpoint, config, bundle.manifest).run
    if file is not None:
        lone = open_backend(backend or "onnxruntime", file, config)
        _refuse_another_input(file, lone.metadata, bundle.manifest.input)
        return lone.run
    return Classifier.open(
        bundle.directory,
        variant=variant,
        device=config.device,
        threads=config.threads,
        backend=backend,
        cuda=config.cuda if config.device == "cuda" else None,
    ).logits


def _refuse_another_input(file: Path, metadata: Mapping[str, str], expected: InputSpec) -> None:
    from vgg_runtime.bundle.embedded_manifest import METADATA_KEY
    from vgg_runtime.bundle.manifest import Manifest

    if METADATA_KEY in metadata:
        input_spec = Manifest.parse(metadata[METADATA_KEY], source=f"the metadata of {file}").input
        if (input_spec.dtype, input_spec.image_shape) != (expected.dtype, expected.image_shape):
            raise BundleError(
                f"{file} takes {input_spec.dtype} {list(input_spec.image_shape)}, the bundle's variants "
                f"{expected.dtype} {list(expected.image_shape)}: these do not compare."
            )


@click.command()
@click.argument("bundle")
@click.option("--variant")
@click.option("--file", type=click.Path(path_type=Path), help="A model file instead of a variant.")
@click.option("--checkpoint", type=click.Path(path_type=Path), help="The bundle's checkpoint instead of a variant.")
@click.option("--backend", help="By default that of the variant's format.")
@click.option("--batch-size", type=int, default=1)
@click.option("--threads", type=int)
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu")
@click.option("--cuda-mode", type=click.Choice(["tf32", "graph"]))
def main(bundle: str, *, batch_size: int, threads: int | None, device: Any, cuda_mode: str | None, **what: Any) -> None:
    """Time one model on images of the bundle's shape."""
    from vgg_bench.timing import nvml
    from vgg_runtime._internal.cpu import available_threads
    from vgg_runtime.backends.base import CudaOptions, SessionConfig
    from vgg_runtime.bundle.directory import open_bundle

    gpu_before = nvml.used_megabytes() if device == "cuda" else None
    begun = time.perf_counter()
    opened = open_bundle(bundle)
    input_spec = opened.manifest.input
    size = input_spec.batch_size or batch_size
    cuda = CudaOptions(tf32=cuda_mode == "tf32", graph_batch_sizes=(size,) if cuda_mode == "graph" else ())
    run = _open(opened, **what, config=SessionConfig(device, threads or available_threads(), cuda=cuda))
    load_s = time.perf_counter() - begun
    batch = image_like_batch((size, *input_spec.image_shape), input_spec.dtype)
    copy = None
    if device == "cuda" and what["backend"] == "onnxruntime":
        from vgg_bench.measurement.cuda_copies import copies_of

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
        sys.stderr.write(error.message)  # without its hint: the parent process shows the last line
        sys.exit(error.exit_code)
