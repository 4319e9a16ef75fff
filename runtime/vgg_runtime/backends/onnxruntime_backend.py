"""ONNX Runtime on the CPU or on CUDA, strict about which of the two it is."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.metadata
import logging
import os
import sys
import threading
import weakref
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from vgg_runtime.backends import Placement
from vgg_runtime.errors import BundleError, MissingCapabilityError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["OnnxRuntimeBackend"]

logger = logging.getLogger(__name__)

_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"

# TF32 keeps 10 bits of mantissa: fast, and far from what eager PyTorch computes in float32.
# HEURISTIC picks a convolution algorithm without trying all of them at every new batch size.
_CUDA_OPTIONS = {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}

# Creating sessions from several threads at once is not safe in ONNX Runtime; running them is.
_creating = threading.Lock()

_sessions: weakref.WeakSet[Any] = weakref.WeakSet()


def _abandon_inherited_sessions() -> None:
    """Make sessions immortal in a forked child: destroying one waits for its threads, which only the parent has."""
    global _creating
    _creating = threading.Lock()
    for session in _sessions:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(session))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon_inherited_sessions)


class OnnxRuntimeBackend:
    """One ``InferenceSession``.

    Args:
        model: an ONNX file; its external data is mapped, not copied.
        placement: device and threads.

    Raises:
        MissingCapabilityError: onnxruntime or CUDA is missing.
        BundleError: onnxruntime refuses the file.
    """

    def __init__(self, model: Path, placement: Placement) -> None:
        self.device, self.device_reason, self._session = _open_on_device(model, placement)
        self._input = self._session.get_inputs()[0].name
        self.metadata: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return outputs (batch, classes) for a float32 ``batch`` in NCHW order.

        Raises:
            BundleError: the model takes another shape or dtype.
            MissingCapabilityError: this machine cannot run it, for want of memory as a rule.
        """
        try:
            return cast("NDArray[np.float32]", self._session.run(None, {self._input: batch})[0])
        except Exception as error:  # onnxruntime has no common base class for its errors
            raise _run_refusal(batch.shape, error) from error


def _open_on_device(model: Path, placement: Placement) -> tuple[Literal["cpu", "cuda"], str, Any]:
    if placement.device == "cpu":
        return "cpu", "as asked", _session(model, placement, _CPU)
    why_not = _why_no_cuda()
    if why_not is None:
        try:
            return "cuda", "CUDA is available", _session(model, placement, _CUDA)
        except MissingCapabilityError as error:
            why_not = error.message
    if placement.device == "cuda":
        raise MissingCapabilityError(
            f"CUDA was asked for and is missing: {why_not}",
            hint='On a machine with an NVIDIA GPU: pip install "vgg-deploy[gpu]"; elsewhere take --device cpu.',
        )
    logger.info("running on the CPU: %s", why_not)
    return "cpu", why_not, _session(model, placement, _CPU)


def _session(model: Path, placement: Placement, provider: str) -> Any:
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = placement.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors only: they come back as exceptions with the same text
    settings: dict[str, str] = {}
    if provider == _CUDA:
        # Without this, operators that CUDA lacks would run on the CPU without a word.
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        settings = _CUDA_OPTIONS
    with _creating:
        try:
            # enable_fallback=0: else a session that fails is made again on the CPU, silently.
            session = onnxruntime.InferenceSession(
                str(model), options, providers=[(provider, settings)], enable_fallback=0
            )
        except Exception as error:  # onnxruntime has no common base class for its errors
            raise _load_refusal(model, provider, error) from error
    _sessions.add(session)
    if provider not in session.get_providers():
        raise MissingCapabilityError(f"onnxruntime started without {provider}.")
    return session


def _load_refusal(model: Path, provider: str, error: Exception) -> BundleError | MissingCapabilityError:
    text = _first_line(error)
    if provider == _CUDA:
        return MissingCapabilityError(f"onnxruntime cannot start on CUDA: {text}")
    return BundleError(f"onnxruntime cannot load {model}: {text}", hint="Run vgg-run verify on the bundle.")


def _run_refusal(shape: tuple[int, ...], error: Exception) -> BundleError | MissingCapabilityError:
    text = f"onnxruntime cannot run the model on a batch of shape {list(shape)}: {_first_line(error)}"
    if type(error).__name__ == "InvalidArgument":
        return BundleError(text, hint="The model does not fit the manifest; export the checkpoint again.")
    return MissingCapabilityError(text, hint="Take a smaller batch, or a device with more memory.")


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _why_no_cuda() -> str | None:
    onnxruntime = import_onnxruntime()
    if _CUDA not in onnxruntime.get_available_providers():
        return f"the installed onnxruntime {onnxruntime.__version__} is built without CUDA."
    if hasattr(onnxruntime, "preload_dlls"):
        with contextlib.redirect_stdout(sys.stderr):  # it prints what it does not find
            onnxruntime.preload_dlls(directory="")  # the CUDA libraries that pip installed
    return None


@cache
def import_onnxruntime() -> Any:
    """Return the onnxruntime package, with its telemetry off.

    Raises:
        MissingCapabilityError: it is not installed, or both of its wheels are.
    """
    installed = [name for name in ("onnxruntime", "onnxruntime-gpu") if _is_installed(name)]
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


def _is_installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
