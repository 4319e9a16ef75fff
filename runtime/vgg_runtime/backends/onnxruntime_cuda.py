"""ONNX Runtime on CUDA, and on nothing else."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vgg_runtime._internal.signal_errors import reraise_from_signal_handler
from vgg_runtime.backends.base import CudaOptions, SessionConfig
from vgg_runtime.backends.cuda_presence import CUDA_PROVIDER
from vgg_runtime.backends.io_binding import BoundSession
from vgg_runtime.backends.onnxruntime_cpu import (
    cause_of,
    create_session,
    import_onnxruntime,
    is_out_of_memory,
    load_refusal,
    run_refusal,
    session_options,
)
from vgg_runtime.errors import BundleError, MissingCapabilityError, OutOfMemoryError, VggDeployError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vgg_runtime.bundle.manifest import InputArray

__all__ = ["CudaBackend", "operators_on_cpu", "provider_settings"]

_MEMORY = "cuda"

# What onnxruntime raises about the file itself; all other errors at opening are about the device.
_FILE_ERRORS = ("InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NoModel", "NoSuchFile")

# How onnxruntime says that CUDA lacks an operator, without and with a graph to capture.
_CPU_ONLY = ("assigned to the default CPU EP", "have not been partitioned to the CUDAExecutionProvider")

# Operators on the few integers of a shape, such as the size of the batch. onnxruntime leaves these on the CPU on
# purpose; on images and activations it runs the same operators on CUDA. Not all of Cast, Equal and Where, which depend
# on the type.
_OF_SHAPES = frozenset(
    {"Add", "Concat", "Div", "Gather", "Mul", "Range", "Reshape", "Shape", "Size", "Slice", "Squeeze", "Sub"}
    | {"Unsqueeze"}
)


def operators_on_cpu(session: Any) -> set[str]:
    """Return the types of the operators that a session of several providers runs on the CPU.

    Empty if this onnxruntime does not tell; releases before 1.24 do not.
    """
    if not _can_tell_providers():
        return set()
    parts = [part for part in session.get_provider_graph_assignment_info() if part.ep_name == "CPUExecutionProvider"]
    return {node.op_type for part in parts for node in part.get_nodes()}


def _can_tell_providers() -> bool:
    return hasattr(import_onnxruntime().InferenceSession, "get_provider_graph_assignment_info")


def provider_settings(options: CudaOptions, *, captured: bool, gpu: int = 0) -> dict[str, str]:
    """Return the settings of onnxruntime's CUDA provider.

    Args:
        captured: for a session that is captured as a graph.
        gpu: index of the GPU.
    """
    settings = {
        "device_id": str(gpu),
        # TF32 keeps 10 bits of mantissa: fast, and far from what eager PyTorch computes in float32.
        "use_tf32": str(int(options.tf32)),
        # Chooses a convolution algorithm without trying all of them, which would take long for every new batch size.
        "cudnn_conv_algo_search": "HEURISTIC",
        "enable_cuda_graph": str(int(captured)),
    }
    return settings if options.memory_limit is None else settings | {"gpu_mem_limit": str(options.memory_limit)}


class CudaBackend:
    """A model on CUDA, its input and output in buffers on the device.

    Calls from several threads run one after the other, as the device does anyway. A call that fails for lack of
    memory, or in any other way that may leave the session unusable, raises and releases everything on the device; the
    next call opens the model again.

    Args:
        model: an ONNX file.
        config: threads, and the options of CUDA.

    Raises:
        BundleError: onnxruntime refuses the file.
        MissingCapabilityError: the device cannot run the model.
        OutOfMemoryError: it has no memory for it.
    """

    def __init__(self, model: Path, config: SessionConfig) -> None:
        self.device = config.cuda_device
        self._model = model
        self._config = config
        self._graph_sizes = config.cuda.graph_batch_sizes
        self._sessions: dict[int | None, BoundSession] = {}  # by captured batch size; None: any other size
        self._lock = threading.Lock()
        # onnxruntime captures a graph again in every thread that runs it, so a single thread runs them all. It is the
        # caller's, because handing a batch over takes 0.07 ms; once there are several callers, it is one of our own.
        self._graph_thread = ThreadPoolExecutor(1, "vgg-cuda-graphs") if self._graph_sizes else None
        self._has_called = threading.local()
        self._callers = 0
        self.device_reason = "CUDA is available" + (", with TF32" if config.cuda.tf32 else "")
        self.metadata: Mapping[str, str] = self._session(self._graph_sizes[0] if self._graph_sizes else None).metadata

    def run(self, batch: InputArray) -> NDArray[np.float32]:
        """Return outputs (batch, classes) for a ``batch`` of the dtype and layout that the manifest says.

        Raises:
            BundleError: the model takes another shape or dtype.
            OutOfMemoryError: the device has no memory for it; a smaller batch may work at once.
            MissingCapabilityError: the device failed.
        """
        if self._graph_thread is None or self._is_only_caller():
            return self._run(batch)
        return self._graph_thread.submit(self._run, batch).result()

    def _is_only_caller(self) -> bool:
        """Whether no other thread has called so far; threads are told apart by more than their reused numbers."""
        if not hasattr(self._has_called, "yes"):
            with self._lock:
                self._callers += 1
            self._has_called.yes = True
        return self._callers == 1

    def _run(self, batch: InputArray) -> NDArray[np.float32]:
        with self._lock:
            try:
                return self._session(len(batch) if len(batch) in self._graph_sizes else None).run(batch)
            except VggDeployError:
                raise
            except Exception as error:  # onnxruntime has no common base class for its errors
                self._sessions.clear()
                reraise_from_signal_handler(error)
                # Without its traceback, whose frames would keep the session and its memory alive while the caller
                # retries.
                raise run_refusal(batch.shape, error) from error.with_traceback(None)

    def _session(self, captured_size: int | None) -> BoundSession:
        if captured_size not in self._sessions:
            self._sessions[captured_size] = self._open(captured=captured_size is not None)
        return self._sessions[captured_size]

    def _open(self, *, captured: bool) -> BoundSession:
        options = session_options(self._config)
        # Without one of these, operators that CUDA lacks would silently run on the CPU.
        tells = "record_ep_graph_assignment_info" if _can_tell_providers() else "disable_cpu_ep_fallback"
        options.add_session_config_entry(f"session.{tells}", "1")
        # CUDA has no integer convolutions, and cannot dequantize int32 biases: dequantize constants once, at loading.
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        settings = provider_settings(self._config.cuda, captured=captured, gpu=self._config.gpu)
        try:
            session = create_session(self._model, options, CUDA_PROVIDER, settings)
            if lacking := sorted(operators_on_cpu(session) - _OF_SHAPES):
                del session  # the traceback would keep it, and its memory on the device
                raise _lacking_refusal(self._model, f": {', '.join(lacking)}")
            return BoundSession(session, _MEMORY, self._config.gpu)
        except VggDeployError:
            raise
        except Exception as error:  # onnxruntime has no common base class for its errors
            reraise_from_signal_handler(error)
            raise _opening_refusal(self._model, error) from error.with_traceback(None)


def _lacking_refusal(model: Path, which: str = "") -> MissingCapabilityError:
    return MissingCapabilityError(
        f"{model} has operators that onnxruntime supports on the CPU only{which}.",
        hint="Use another variant, such as onnx-fp32 or onnx-fp16, or `device='cpu'`.",
    )


def _opening_refusal(model: Path, error: Exception) -> BundleError | MissingCapabilityError:
    text = cause_of(error)
    if type(error).__name__ in _FILE_ERRORS:
        return load_refusal(model, error)
    if is_out_of_memory(error):
        return OutOfMemoryError(
            f"the GPU has no memory for {model}: {text}", hint="Use a smaller variant, or `device='cpu'`."
        )
    if any(symptom in text for symptom in _CPU_ONLY):
        return _lacking_refusal(model)
    return MissingCapabilityError(
        f"onnxruntime cannot start on CUDA: {text}", hint="Compare its version with the driver's (nvidia-smi)."
    )
