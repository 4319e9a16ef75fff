"""The protocol of backends, and the configuration of a session."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

from vgg_runtime._internal.cpu import available_threads
from vgg_runtime._internal.validation import check_positive_int
from vgg_runtime.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vgg_runtime.bundle.manifest import InputArray

__all__ = [
    "PROFILES",
    "Backend",
    "BackendChoice",
    "CudaOptions",
    "Device",
    "DeviceKind",
    "Profile",
    "ProfileName",
    "SessionConfig",
    "parse_device",
    "session_config",
]


ProfileName = Literal["latency", "throughput", "low-memory", "shared"]


@dataclass(frozen=True)
class Profile:
    """Options of an engine's session on the CPU.

    Attributes:
        packs_floats: whether float weights are copied into the layout of the matrix kernels when the model is loaded.
            8-bit and 4-bit weights always are: a VGG-16 that packs them at every call takes 4 to 10 times as long.
        packs_in_parallel: whether all threads pack, one weight each.
        keeps_buffers: whether memory for activations is kept for the next call.
        spins: whether idle threads wait for work in a loop for a while before they sleep.
    """

    packs_floats: bool
    packs_in_parallel: bool
    keeps_buffers: bool
    spins: bool


# Measured on a VGG-16, 2 threads of an x86-64 with AVX-512 VNNI, ONNX Runtime 1.31.
PROFILES: dict[ProfileName, Profile] = {
    "latency": Profile(
        # Unpacked, one image takes as long (80 ms), and the weights stay a mapped file: loading takes 0.1 s instead of
        # 0.5 s, and memory peaks 290 MiB lower. Two or eight images at once take 1 to 3 % longer. In a network of
        # fully connected layers alone, two take 2 to 3 times as long and eight 1.7 times, which is still a third of the
        # time per image that a single one takes.
        packs_floats=False,
        # Loads int8 weights in 0.09 s instead of 0.15 s, but memory peaks 70 MiB higher.
        packs_in_parallel=False,
        # Off, it would save 18 MiB for one image, but every call would request its memory from the system again.
        keeps_buffers=True,
        # Waking sleeping threads costs up to 2 % of 22 ms. Turned off under a CPU quota, which spinning would use up.
        spins=True,
    ),
    "throughput": Profile(
        packs_floats=True,
        packs_in_parallel=True,
        keeps_buffers=True,
        # Between two batches the cores decode images.
        spins=False,
    ),
    "low-memory": Profile(
        packs_floats=False,
        packs_in_parallel=False,
        # The memory of a call is returned to the system: 190 MiB after a batch of eight.
        keeps_buffers=False,
        # Machines with little memory have few cores, which other processes need too.
        spins=False,
    ),
    # For processes side by side: float weights stay the mapped file, which is in memory once for all of them.
    "shared": Profile(
        packs_floats=False,
        packs_in_parallel=False,
        keeps_buffers=True,
        # It would take the cores from the other processes.
        spins=False,
    ),
}


@dataclass(frozen=True)
class CudaOptions:
    """Options for a model on CUDA, all off by default.

    Attributes:
        tf32: round factors to TF32's 10 bits of mantissa: faster, but outside the guaranteed parity.
        graph_batch_sizes: batch sizes to capture as CUDA graphs, which are launched as a whole instead of kernel by
            kernel. Each needs a further copy of the weights on the device.
        memory_limit: maximum bytes of device memory for the weights and activations of a session.

    Raises:
        UsageError: a batch size or the limit is below 1.

    Examples:
        >>> from vgg_runtime import CudaOptions
        >>> CudaOptions(tf32=True, graph_batch_sizes=(1, 8))
        CudaOptions(tf32=True, graph_batch_sizes=(1, 8), memory_limit=None)
    """

    tf32: bool = False
    graph_batch_sizes: tuple[int, ...] = ()
    memory_limit: int | None = None

    def __post_init__(self) -> None:
        if any(size < 1 for size in self.graph_batch_sizes):
            raise UsageError(f"`graph_batch_sizes` must all be >= 1, got {list(self.graph_batch_sizes)}.")
        if self.memory_limit is not None and self.memory_limit < 1:
            raise UsageError(f"`memory_limit` must be a number of bytes >= 1, got {self.memory_limit}.")


# "auto", "cpu", "cuda", or "cuda:N" for the GPU of that index; "cuda" is "cuda:0".
Device = str

DeviceKind = Literal["auto", "cpu", "cuda"]

_DEVICE = re.compile(r"(auto|cpu|cuda)|cuda:(\d{1,3})", re.ASCII)

# The largest processors have about as many cores; threads beyond the cores only wait for one another.
MAX_THREADS = 256


@dataclass(frozen=True)
class SessionConfig:
    """How a model is run: device, threads, tuning.

    Attributes:
        device: "cuda" runs on CUDA or fails; "auto" takes CUDA if it works, else the CPU.
        threads: CPU threads for one call, at least 1.
        profile: what to tune for; ignored by engines without such a choice.
        precision: of the variant, such as "fp32"; None if unknown.
        gpu: index of the GPU for CUDA, among those that are visible to this process.
        cuda: options of CUDA, for models that ONNX Runtime runs on it.
        allow_any_operator: run an ONNX file whatever its operators.
    """

    device: DeviceKind
    threads: int
    profile: ProfileName = "latency"
    precision: str | None = None
    gpu: int = 0
    cuda: CudaOptions = field(default_factory=CudaOptions)
    allow_any_operator: bool = False

    @property
    def cuda_device(self) -> str:
        """The GPU by its name in :data:`Device`: "cuda" for the first, else "cuda:N"."""
        return f"cuda:{self.gpu}" if self.gpu else "cuda"


def parse_device(device: Any) -> tuple[DeviceKind, int]:
    """Return the kind of device, and the index of the GPU in "cuda:N", else 0.

    Raises:
        UsageError: it is none of the words that :data:`Device` names.
    """
    matched = _DEVICE.fullmatch(device) if isinstance(device, str) else None
    if matched is None:
        raise UsageError(f"`device` must be 'auto', 'cpu', 'cuda' or 'cuda:N', got {device!r}.")
    return cast("DeviceKind", matched[1] or "cuda"), int(matched[2] or 0)


def session_config(
    device: Device,
    threads: int | None,
    profile: ProfileName,
    cuda: CudaOptions | None,
    *,
    allow_any_operator: bool = False,
) -> SessionConfig:
    """Return the configuration for the arguments of :class:`~vgg_runtime.Classifier`, with defaults for None.

    Raises:
        UsageError: an argument is out of range, or has no effect on the device.
    """
    kind, gpu = parse_device(device)
    if threads is not None:
        threads = check_positive_int("threads", threads, maximum=MAX_THREADS)
    if cuda is not None and kind == "cpu":
        raise UsageError("`cuda` has no effect with `device='cpu'`.", hint="Use `device='cuda'`, or omit `cuda`.")
    if profile not in PROFILES:
        raise UsageError(f"`profile` must be one of {', '.join(PROFILES)}, got {profile!r}.")
    return SessionConfig(
        kind,
        threads or available_threads(),
        profile,
        gpu=gpu,
        cuda=cuda or CudaOptions(),
        allow_any_operator=allow_any_operator,
    )


@dataclass(frozen=True)
class BackendChoice:
    """A backend and the reason for choosing it.

    Attributes:
        latency_ms: of one call, by backend; empty if there was nothing to measure.
    """

    backend: str
    reason: str
    latency_ms: dict[str, float] = field(default_factory=dict)


class Backend(Protocol):
    """A loaded model. ``run`` may be called from several threads at once.

    Attributes:
        device: "cpu", "cuda" or "cuda:N", as in :data:`Device`.
    """

    device: str
    device_reason: str
    metadata: Mapping[str, str]

    def run(self, batch: InputArray) -> NDArray[np.float32]:
        """Return outputs (batch, classes) for a ``batch`` of the dtype and layout that the manifest says."""
        ...
