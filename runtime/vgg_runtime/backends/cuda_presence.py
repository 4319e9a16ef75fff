"""Whether CUDA can be used in this process, and if not, what is missing."""

from __future__ import annotations

import contextlib
import ctypes
import io
import re
import sys
from functools import cache
from typing import Any

import numpy as np

from vgg_runtime.backends.onnxruntime_cpu import cause_of, import_onnxruntime
from vgg_runtime.errors import MissingCapabilityError

__all__ = ["CUDA_PROVIDER", "DRIVER", "built_with_cuda", "has_driver", "require_cuda"]

CUDA_PROVIDER = "CUDAExecutionProvider"

# The driver's library is not in any wheel. cuDNN's is loaded by this name at the first convolution, which is too late
# to choose another device (onnxruntime/core/providers/cuda/cudnn_loader.cc).
DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
_CUDNN = "cudnn64_9.dll" if sys.platform == "win32" else "libcudnn.so.9"

_WHEEL = (
    'With an NVIDIA GPU: pip uninstall -y onnxruntime, then pip install "vgg-deploy[gpu]". '
    'Otherwise use `device="cpu"`.'
)
_LIBRARIES = (
    'pip install "vgg-deploy[gpu]" brings CUDA and cuDNN; the driver comes from NVIDIA. Otherwise use `device="cpu"`.'
)
_DEVICE = "nvidia-smi shows the GPU, its driver and its free memory. Otherwise use `device='cpu'`."

_ERROR = 3  # of onnxruntime's levels of logging


def built_with_cuda() -> bool:
    """Whether the installed onnxruntime is built for GPUs.

    Raises:
        MissingCapabilityError: none is installed.
    """
    return CUDA_PROVIDER in import_onnxruntime().get_available_providers()


def has_driver() -> bool:
    """Whether the NVIDIA driver's library can be loaded."""
    return _loads(DRIVER)


def require_cuda(gpu: int = 0) -> None:
    """Load CUDA's libraries and try the GPU of that index.

    From then on onnxruntime logs errors only: it would warn of every session that its CUDA provider is no plugin.

    Raises:
        MissingCapabilityError: something is missing; the message names it.
    """
    onnxruntime = import_onnxruntime()
    if not built_with_cuda():
        raise _missing(f"the installed onnxruntime {onnxruntime.__version__} is built without CUDA", _WHEEL)
    if libraries := _missing_libraries(onnxruntime):
        raise _missing(f"{', '.join(libraries)} cannot be loaded", _LIBRARIES)
    onnxruntime.set_default_logger_severity(_ERROR)
    try:
        # The most reliable test: allocate four bytes on the device.
        onnxruntime.OrtValue.ortvalue_from_shape_and_type([1], np.float32, "cuda", gpu)
    except Exception as error:  # onnxruntime has no common base class for its errors
        which = f"the GPU {gpu}" if gpu else "the GPU"
        raise _missing(f"{which} cannot be used: {cause_of(error)}", _DEVICE) from error


def _missing(reason: str, hint: str) -> MissingCapabilityError:
    return MissingCapabilityError(f"CUDA is missing: {reason.rstrip('.')}.", hint=hint)


def _missing_libraries(onnxruntime: Any) -> list[str]:
    toolkit = _preload(onnxruntime)
    driver = [] if has_driver() else [f"the NVIDIA driver ({DRIVER})"]
    cudnn = [] if _loads(_CUDNN) else [f"cuDNN ({_CUDNN})"]
    return driver + ([f"CUDA ({', '.join(toolkit)})"] if toolkit else []) + cudnn


@cache
def _preload(onnxruntime: Any) -> tuple[str, ...]:
    """Load the CUDA libraries that pip installed, else the system's; return the names of missing ones."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:  # it prints the names of missing libraries
        onnxruntime.preload_dlls(directory="")
    return tuple(dict.fromkeys(re.findall(r"^Failed to load ([\w.+-]+): ", printed.getvalue(), re.MULTILINE)))


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
