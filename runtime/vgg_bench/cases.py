"""What is measured: variants on the backends that run them, lone files, and the checkpoint in PyTorch."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, product
from pathlib import Path
from typing import Literal

from vgg_bench.engines import Engine, find_engines, why_no_torch_on_cuda
from vgg_bench.measurement.pytorch import IN_PYTORCH, require_checkpoint
from vgg_bench.results import BenchmarkCase, on_device
from vgg_runtime._internal.cpu import available_threads
from vgg_runtime.bundle.directory import Bundle
from vgg_runtime.bundle.manifest import Manifest, Variant
from vgg_runtime.errors import UsageError

__all__ = ["WORKER", "BenchmarkRequest", "CaseCommand", "choose"]


@dataclass(frozen=True)
class BenchmarkRequest:
    """What to measure; empty means everything that is available.

    Attributes:
        variants: names of variants of the bundle.
        backends: names of :data:`ENGINES`.
        device: "cpu" or "cuda"; None for both.
        batch_sizes, threads: all combinations are measured; by default one image on all threads of this process.
        also: lone ONNX files by name, run by onnxruntime on the devices that it measures variants on, else the CPU.
        checkpoint: the one that the bundle was exported from, to be run by PyTorch on these devices.
    """

    variants: Sequence[str] = ()
    backends: Sequence[str] = ()
    device: str | None = None
    batch_sizes: Sequence[int] = ()
    threads: Sequence[int] = ()
    also: Mapping[str, Path] = field(default_factory=dict)
    checkpoint: Path | None = None


@dataclass(frozen=True)
class CaseCommand:
    """A subject, and the process that measures it.

    Attributes:
        bytes: of its files.
        command: of the worker.
    """

    subject: BenchmarkCase
    bytes: int
    command: tuple[str, ...]


def choose(bundle: Bundle, request: BenchmarkRequest) -> tuple[list[CaseCommand], dict[str, str]]:
    """Return the cases that can be measured here, and the reason for each absent backend.

    Raises:
        UsageError: a backend is unknown, a batch size does not fit the bundle, or a name is already used.
        BundleError: the bundle has no variant of a name.
        CheckpointError: the bundle was exported from another checkpoint.
        MissingCapabilityError: a backend that was asked for is absent, or all are.
    """
    manifest = bundle.manifest
    variants = [manifest.variant(name) for name in dict.fromkeys(request.variants)] or list(manifest.variants)
    names = {*chain.from_iterable(IN_PYTORCH.values()), *(variant.name for variant in manifest.variants)}
    if clashes := sorted(names & set(request.also)):
        raise UsageError(f"{', '.join(clashes)} is the name of a variant.", hint="Give the file another name.")
    batch_sizes = _batch_sizes(request.batch_sizes, manifest)
    engines, absent = find_engines(request.backends, variants, request.device)
    if request.checkpoint is not None:
        require_checkpoint(request.checkpoint, manifest)
        for device in {engine.device for engine in engines.values()}:
            if (why := _why_no_pytorch(device)) is not None:
                absent[on_device("pytorch", device)] = why
    settings = product(batch_sizes, dict.fromkeys(request.threads) or [available_threads()])
    return [case for setting in settings for case in _candidates(bundle, variants, engines, request, setting)], absent


def _candidates(
    bundle: Bundle,
    variants: Sequence[Variant],
    engines: Mapping[str, Engine],
    request: BenchmarkRequest,
    batch_size_and_threads: tuple[int, int],
) -> Iterator[CaseCommand]:
    batch_size, threads = batch_size_and_threads

    def candidate(variant: str, engine: str, size: int, *model: str) -> CaseCommand:
        setting = ("--batch-size", str(batch_size), "--threads", str(threads))
        subject = BenchmarkCase(variant, engine, batch_size, threads)
        return CaseCommand(subject, size, (*WORKER, str(bundle.directory), *model, *setting))

    for variant, (name, engine) in product(variants, engines.items()):
        if engine.fits(variant):
            placed = ("--backend", engine.backend, "--device", engine.device)
            mode = ("--cuda-mode", engine.cuda_mode) if engine.cuda_mode else ()
            yield candidate(variant.name, name, variant.bytes, "--variant", variant.name, *placed, *mode)
    devices = dict.fromkeys(engine.device for engine in engines.values())
    by_onnxruntime = dict.fromkeys(engine.device for engine in engines.values() if engine.backend == "onnxruntime")
    for (name, file), device in product(request.also.items(), by_onnxruntime or ["cpu"]):
        placed = ("--backend", "onnxruntime", "--device", device)
        yield candidate(name, on_device("onnxruntime", device), file.stat().st_size, "--file", str(file), *placed)
    if request.checkpoint is not None:
        size, model = request.checkpoint.stat().st_size, ("--checkpoint", str(request.checkpoint))
        for device in devices:
            for how in () if _why_no_pytorch(device) else IN_PYTORCH[device]:
                placed = ("--backend", how, "--device", device)
                yield candidate(how, on_device("pytorch", device), size, *model, *placed)


def _why_no_pytorch(device: Literal["cpu", "cuda"]) -> str | None:
    return why_no_torch_on_cuda() if device == "cuda" else None


def _batch_sizes(sizes: Sequence[int], manifest: Manifest) -> list[int]:
    fixed = manifest.input.batch_size
    if fixed is not None and (other := sorted(set(sizes) - {fixed})):
        raise UsageError(
            f"the bundle's batch size is fixed at {fixed}, got {', '.join(map(str, other))}.",
            hint="Export with --batch dynamic.",
        )
    return list(dict.fromkeys(sizes)) or [fixed or 1]


# -P: modules in the current folder, beside a checkpoint, are not imported.
WORKER = (sys.executable, "-P", "-m", "vgg_bench.measurement.worker")
