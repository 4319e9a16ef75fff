"""The results of ``vgg-bench``: the only definition of what ``--json FILE`` contains."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Literal

from vgg_bench.timing.memory import Memory
from vgg_runtime._internal.json_codec import MismatchError, dump_json, from_json
from vgg_runtime.bundle.manifest import CompressionPoint
from vgg_runtime.errors import UsageError

__all__ = [
    "BenchmarkCase",
    "Estimate",
    "Latency",
    "Machine",
    "Method",
    "Quality",
    "Results",
    "Roofline",
    "Row",
    "on_device",
]


SCHEMA_VERSION = 1

_ON_CUDA = "-cuda"


@dataclass(frozen=True)
class Estimate:
    """A measured value and its 95 % confidence interval.

    Attributes:
        low, high: ends of the interval; None if too little was measured for one.
    """

    value: float
    low: float | None
    high: float | None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The ends, None if there is no interval."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    @property
    def greatest(self) -> float:
        """The upper end, or the value itself if there is no interval."""
        return self.value if self.high is None else self.high

    def overlaps(self, other: Estimate) -> bool:
        """Whether the intervals have a point in common, so that the two values count as equal.

        Without an interval two values cannot be told apart.
        """
        if self.interval is None or other.interval is None:
            return True
        return self.interval[0] <= other.interval[1] and other.interval[0] <= self.interval[1]


@dataclass(frozen=True)
class BenchmarkCase:
    """One measured thing, in a process of its own.

    Attributes:
        variant: of the bundle; "eager", "compiled" and others for the checkpoint's module in PyTorch.
        backend: engine and device that run it, such as "onnxruntime", "onnxruntime-cuda", "openvino", "torchscript",
            "pytorch"; on CUDA perhaps with a way to run it, as in "onnxruntime-cuda-tf32".
        batch_size: images per call.
        threads: CPU threads of one call.
    """

    variant: str
    backend: str
    batch_size: int
    threads: int

    @property
    def name(self) -> str:
        """Return the name of the subject in tables, unique within a run."""
        return f"{self.variant} / {self.backend} / batch {self.batch_size} / {self.threads} threads"

    @property
    def engine(self) -> str:
        """The engine alone, such as "onnxruntime"."""
        return self.backend.partition(_ON_CUDA)[0]

    @property
    def device(self) -> Literal["cpu", "cuda"]:
        """The device that it runs on."""
        return "cuda" if _ON_CUDA in self.backend else "cpu"

    @property
    def cuda_mode(self) -> str | None:
        """The way to run CUDA, "tf32" or "graph"; None for the default."""
        return self.backend.partition(_ON_CUDA)[2].removeprefix("-") or None

    @property
    def setting(self) -> tuple[int, int]:
        """Batch size and threads: only subjects that share both are compared."""
        return self.batch_size, self.threads


def on_device(engine: str, device: Literal["cpu", "cuda"]) -> str:
    """Return the name of a backend: of an engine on a device."""
    return engine + (_ON_CUDA if device == "cuda" else "")


@dataclass(frozen=True)
class Latency:
    """Latency of one call of ``batch_size`` images, in milliseconds.

    Attributes:
        p99: None with fewer than 100 calls, none of which would be expected beyond it.
        images_per_second: throughput of calls one after another.
        copies: the part of it that copies to and from the device take; None on the CPU.
    """

    p50: Estimate
    p90: Estimate
    p99: Estimate | None
    minimum: Estimate
    mean: Estimate
    images_per_second: Estimate
    copies: Estimate | None = None


@dataclass(frozen=True)
class Quality:
    """How good the answers of a variant are.

    Attributes:
        top1_agreement: share of samples with the best class of eager PyTorch, as measured when the bundle was written.
        snr_db: against eager PyTorch; None if it is equal to the bit, or ``top1_agreement`` is None.
        accuracy: share of right answers on ``--samples``, with its Wilson interval.
        images: number of those samples.
    """

    top1_agreement: float | None = None
    snr_db: float | None = None
    accuracy: Estimate | None = None
    images: int = 0


@dataclass(frozen=True)
class Roofline:
    """The distance of a call from the limit of this machine (Williams, Waterman, Patterson 2009).

    Attributes:
        gmac: 10^9 multiply-accumulates of one call.
        gigabytes: 10^9 bytes that one call must move: the weights, and each activation once written and once read.
        limit_ms: the longer of the times that these take at the machine's measured peaks.
        share: ``limit_ms`` divided by the median latency; 1 is the limit.
    """

    gmac: float
    gigabytes: float
    limit_ms: float
    share: float


@dataclass(frozen=True)
class Row:
    """The measurements of one subject.

    Attributes:
        bytes: size of the variant's files; of the checkpoint for PyTorch.
        rounds: raw latencies in seconds, one tuple per round.
        latency: statistics over the rounds, None if the subject failed.
        ratio: latency relative to the baseline at the same batch size and threads, compared within rounds.
        cold_start_s: process start to first answer, in seconds.
        load_s: opening alone, in seconds.
        energy_j: joules per call, None if the machine has no readable counter.
        failure: why figures are missing.
        exit_code: the exit code of that failure, 0 without one.
    """

    subject: BenchmarkCase
    bytes: int
    rounds: tuple[tuple[float, ...], ...] = ()
    latency: Latency | None = None
    ratio: Estimate | None = None
    cold_start_s: Estimate | None = None
    load_s: Estimate | None = None
    memory: Memory | None = None
    quality: Quality = field(default_factory=Quality)
    roofline: Roofline | None = None
    energy_j: float | None = None
    failure: str | None = None
    exit_code: int = 0


@dataclass(frozen=True)
class Machine:
    """The machine that the figures hold for.

    Attributes:
        cpus: how many this process may use.
        memory_gb: of the machine, in 10^9 bytes.
        gpu: name of the device; None without one, or if only the CPU was measured.
        gmac_per_s: measured peak of float32 multiply-accumulates, 10^9 per second, by number of threads.
        gigabytes_per_s: measured peak of reading memory, by number of threads.
        noise: relative difference of a second measurement of the same thing in a round; the median over this run's
            rounds (0.02 is 2 %).
    """

    processor: str
    system: str
    cpus: int
    memory_gb: float
    gpu: str | None = None
    gmac_per_s: dict[str, float] = field(default_factory=dict)
    gigabytes_per_s: dict[str, float] = field(default_factory=dict)
    noise: float | None = None

    def __str__(self) -> str:
        return ", ".join(filter(None, [self.processor, f"{self.cpus} CPUs", self.gpu]))


@dataclass(frozen=True)
class Method:
    """How it was measured.

    Attributes:
        description: the method in words, as in the documentation.
        rounds, seconds_per_turn, least_calls, starts: the numbers in it; ``starts`` is how often each subject was
            started for its cold start.
        finished: False if the run was interrupted.
    """

    description: str
    rounds: int
    seconds_per_turn: float
    least_calls: int
    starts: int
    finished: bool = True


@dataclass(frozen=True)
class Results:
    """One run of ``vgg-bench``.

    Attributes:
        bundle: name of the directory.
        architecture: of the network.
        source: sha256 of the checkpoint, which identifies runs of the same network.
        baseline: variant and backend that ratios are relative to.
        absent: backends that this machine lacks, and why.
        versions: of the packages that took part.
        recommended: name of the variant that the ranking recommends, for readers that do not rank; None if there is
            none.
        compression: the low-rank networks tried at export, smallest first.

    Examples:
        >>> from pathlib import Path
        >>> from vgg_bench import Results
        >>> results = Results.parse(Path("slim_vgg.bundle/measured.json").read_bytes(), source="measured.json")
        >>> results.baseline
        ('onnx-fp32', 'onnxruntime')
    """

    bundle: str
    architecture: str
    source: str
    baseline: tuple[str, str]
    rows: tuple[Row, ...]
    machine: Machine
    method: Method
    absent: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    recommended: str | None = None
    compression: tuple[CompressionPoint, ...] = ()
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        if self.schema_version != SCHEMA_VERSION:
            raise ValueError(f"schema_version is {self.schema_version}; this release reads {SCHEMA_VERSION}")

    @property
    def measured(self) -> list[Row]:
        """The rows that did not fail."""
        return [row for row in self.rows if row.latency is not None]

    def is_baseline(self, row: Row) -> bool:
        """Whether ``row`` is the variant and the backend that ratios are relative to."""
        return (row.subject.variant, row.subject.backend) == self.baseline

    def dump(self) -> str:
        """Return the results as JSON text."""
        return dump_json(self, indent=1)

    @classmethod
    def parse(cls, text: str | bytes, *, source: str) -> Results:
        """Return the results in ``text``; ``source`` names it in errors.

        Raises:
            UsageError: the text is not what ``vgg-bench --json`` writes.
        """
        try:
            return from_json(cls, json.loads(text))
        except (MismatchError, ValueError) as error:
            raise UsageError(
                f"{source} does not contain results of vgg-bench: {error}.",
                hint="Name a file that vgg-bench --json wrote.",
            ) from error
