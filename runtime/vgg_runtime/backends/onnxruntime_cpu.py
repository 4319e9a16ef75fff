"""ONNX Runtime on the CPU."""

from __future__ import annotations

import ctypes
import os
import re
import sys
import weakref
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from vgg_runtime._internal.cpu import cpu_quota
from vgg_runtime._internal.fork_safe_lock import ForkSafeLock
from vgg_runtime._internal.signal_errors import reraise_from_signal_handler
from vgg_runtime.backends.base import PROFILES, SessionConfig
from vgg_runtime.errors import BundleError, MissingCapabilityError, OutOfMemoryError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vgg_runtime.bundle.manifest import InputArray

__all__ = [
    "OnnxRuntimeBackend",
    "abandon_after_fork",
    "cause_of",
    "create_session",
    "import_onnxruntime",
    "is_out_of_memory",
    "load_refusal",
    "run_refusal",
    "session_options",
]


# Precisions whose weights the kernels read in the layout of the file.
_FLOATS = ("fp32", "fp16")

# Creating sessions from several threads at once is not safe in ONNX Runtime; running them is.
_creating = ForkSafeLock()

_abandoned_after_fork: weakref.WeakSet[Any] = weakref.WeakSet()


def abandon_after_fork(owner: object) -> None:
    """Never destroy ``owner`` in a forked child.

    Destroying a session waits for its threads, and freeing a buffer on a GPU needs its context; only the parent has
    these.
    """
    _abandoned_after_fork.add(owner)


def _abandon_what_was_inherited() -> None:
    for owner in _abandoned_after_fork:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(owner))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon_what_was_inherited)


class OnnxRuntimeBackend:
    """One ``InferenceSession`` on the CPU.

    Args:
        model: an ONNX file; its external data is mapped, not copied.
        config: threads, profile and precision.
        device_reason: why it runs on the CPU.

    Raises:
        MissingCapabilityError: onnxruntime is missing.
        BundleError: onnxruntime refuses the file.
    """

    def __init__(self, model: Path, config: SessionConfig, device_reason: str = "as asked") -> None:
        self.device = "cpu"
        self.device_reason = device_reason
        try:
            self._session = create_session(model, _cpu_options(config), "CPUExecutionProvider")
        except MissingCapabilityError:
            raise
        except Exception as error:  # onnxruntime has no common base class for its errors
            reraise_from_signal_handler(error)
            raise load_refusal(model, error) from error
        self._input = self._session.get_inputs()[0].name
        self.metadata: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map

    def run(self, batch: InputArray) -> NDArray[np.float32]:
        """Return outputs (batch, classes) for a ``batch`` of the dtype and layout that the manifest says.

        Raises:
            BundleError: the model takes another shape or dtype.
            MissingCapabilityError: this machine cannot run it, usually for lack of memory.
        """
        try:
            return cast("NDArray[np.float32]", self._session.run(None, {self._input: batch})[0])
        except Exception as error:  # onnxruntime has no common base class for its errors
            reraise_from_signal_handler(error)
            raise run_refusal(batch.shape, error) from error


def session_options(config: SessionConfig) -> Any:
    """Return the ``SessionOptions`` for ``config``."""
    options = import_onnxruntime().SessionOptions()
    options.intra_op_num_threads = config.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # errors also arrive as exceptions with the same text
    # Otherwise the name of the file decides, and a file in ORT's own format would run unseen.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    return options


def _cpu_options(config: SessionConfig) -> Any:
    profile, options = PROFILES[config.profile], session_options(config)
    packs = profile.packs_floats or config.precision not in _FLOATS
    # Threads that wait in a loop use up a CPU quota.
    spins = profile.spins and cpu_quota() is None
    for key, value in {
        "session.disable_prepacking": not packs,
        "session.prepack.enable_parallel": profile.packs_in_parallel,
        "session.intra_op.allow_spinning": spins,
    }.items():
        options.add_session_config_entry(key, str(int(value)))
    options.enable_cpu_mem_arena = profile.keeps_buffers
    return options


def create_session(model: Path, options: Any, provider: str, settings: Mapping[str, str] | None = None) -> Any:
    """Return an ``InferenceSession`` that runs on ``provider`` and on no other.

    Raises:
        MissingCapabilityError: it started without the provider.
        Exception: whatever onnxruntime raises.
    """
    onnxruntime = import_onnxruntime()
    with _creating.held():
        # enable_fallback=0: otherwise a session that fails is silently created again on the CPU.
        session = onnxruntime.InferenceSession(
            str(model), options, providers=[(provider, dict(settings or {}))], enable_fallback=0
        )
    abandon_after_fork(session)
    if provider not in session.get_providers():
        raise MissingCapabilityError(f"onnxruntime started without {provider}.")
    return session


@cache
def import_onnxruntime() -> Any:
    """Return the onnxruntime package, with its telemetry off.

    Raises:
        MissingCapabilityError: it is not installed, or both of its wheels are.
    """
    installed = _installed_wheels()
    if len(installed) == 2:
        raise MissingCapabilityError(
            "onnxruntime and onnxruntime-gpu are both installed; each overwrites the other's files.",
            hint="Keep one: pip uninstall -y onnxruntime onnxruntime-gpu, "
            'then pip install "vgg-deploy[cpu]" or "vgg-deploy[gpu]".',
        )
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read once, at import
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingCapabilityError(
            f"onnxruntime cannot be imported: {error}." if installed else "onnxruntime is not installed.",
            hint='Install one of the two: pip install "vgg-deploy[cpu]", or with an NVIDIA GPU "vgg-deploy[gpu]".',
        ) from error
    return onnxruntime


def _installed_wheels() -> set[str]:
    """The wheels of onnxruntime that pip recorded in the folder that it is imported from, the first with any.

    Importing importlib.metadata would take 15 ms.
    """
    for folder in sys.path:
        try:
            names = os.listdir(folder or ".")  # noqa: PTH208 - names alone, as fast as possible
        except OSError:  # not a folder, or one that may not be listed
            continue
        records = [name.partition("-")[0] for name in names if name.endswith(".dist-info")]
        if wheels := {"onnxruntime", "onnxruntime_gpu"}.intersection(records):
            return wheels
    return set()


_OUT_OF_MEMORY = re.compile(
    "allocate memory|out of memory|not enough memory|smaller than requested bytes|_ALLOC_FAILED"
)

# The relevant part of an error that passed through several layers of C++: "CUDA failure 2: out of memory ; GPU=0 ;
# hostname=...".
_CAUSE = re.compile(
    r"\w+ failure -?\d+: [^;\n]*[^;\s]|Failed to allocate memory for requested buffer of size \d+"
    r"|Available memory of \d+ is smaller than requested bytes of \d+"
)


def load_refusal(model: Path, error: Exception) -> BundleError:
    """Return our error for ``error``, which loading the file ``model`` raised."""
    hint = "Run vgg-run verify on the bundle."
    if "external data" in str(error).lower():
        hint = f"Its weights must be beside it, in {model.name}.data; or export with `single_file=True`."
    return BundleError(f"onnxruntime cannot load {model}: {cause_of(error)}", hint=hint)


def run_refusal(shape: tuple[int, ...], error: Exception) -> BundleError | MissingCapabilityError:
    """Return our error for ``error``, which a batch of ``shape`` raised."""
    text = f"onnxruntime cannot run the model on a batch of shape {list(shape)}: {cause_of(error)}"
    if type(error).__name__ == "InvalidArgument":
        return BundleError(text, hint="The model does not fit the manifest; export the checkpoint again.")
    if is_out_of_memory(error):
        return OutOfMemoryError(text, hint="Use a smaller batch, or a device with more memory.")
    return MissingCapabilityError(text, hint="Run vgg-run verify on the bundle, on this machine and device.")


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out, judging by the messages of ONNX Runtime, PyTorch, CUDA, cuBLAS and cuDNN."""
    return isinstance(error, MemoryError) or _OUT_OF_MEMORY.search(str(error)) is not None


def cause_of(error: Exception) -> str:
    """Return the part of the text that states the cause, else its first line; the rest is a trace."""
    match = _CAUSE.search(str(error))
    return match[0] if match else str(error).strip().partition("\n")[0] or type(error).__name__
