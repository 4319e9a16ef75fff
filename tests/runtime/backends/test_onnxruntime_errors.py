from __future__ import annotations

from pathlib import Path

import pytest

from vgg_runtime.backends.onnxruntime_cpu import cause_of, is_out_of_memory, load_refusal, run_refusal
from vgg_runtime.errors import BundleError, MissingCapabilityError, OutOfMemoryError, VggDeployError

# Errors as onnxruntime-gpu 1.31.1 words them, but for the signatures of its C++.
DRIVER = (
    "/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_call.cc:154 onnxruntime::CudaCall(ERRTYPE, char) [with "
    "ERRTYPE = cudaError; bool THRW = true] CUDA failure 35: CUDA driver version is insufficient for CUDA runtime "
    "version ; GPU=-1 ; hostname=box ; file=/onnxruntime_src/cuda_provider_factory.cc ; line=160 ; "
    "expr=::cudaGetDeviceCount(&num_devices);"
)
ARENA = (
    "Error in execution: Non-zero status code returned while running Conv node. Name:'' Status Message: "
    "/onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:360 onnxruntime::BFCArena::AllocateRawInternal(size_t) "
    "Failed to allocate memory for requested buffer of size 1125899906842624\n"
)
LIMIT = (  # the same with a limit of memory for the session
    "Error in execution: Non-zero status code returned while running Gemm node. Name:'node_linear' Status Message: "
    "/onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:360 onnxruntime::BFCArena::AllocateRawInternal(size_t) "
    "Available memory of 233832448 is smaller than requested bytes of 294912000\n"
)
CUBLAS = "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0 ; hostname=box ; expr=cublasCreate(&handle);"


class InvalidArgument(Exception):  # noqa: N818 - onnxruntime's own name
    """What onnxruntime raises for inputs that a model does not take."""


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (RuntimeError(DRIVER), "CUDA failure 35: CUDA driver version is insufficient for CUDA runtime version"),
        (RuntimeError(ARENA), "Failed to allocate memory for requested buffer of size 1125899906842624"),
        (RuntimeError(LIMIT), "Available memory of 233832448 is smaller than requested bytes of 294912000"),
        (RuntimeError("\nprotobuf parsing failed.\nat line 3"), "protobuf parsing failed."),
        (RuntimeError(""), "RuntimeError"),
    ],
)
def test_the_cause_is_told_without_the_trace(error: Exception, cause: str) -> None:
    assert cause_of(error) == cause


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RuntimeError(ARENA), True),
        (RuntimeError(LIMIT), True),
        (RuntimeError("CUDA failure 2: out of memory ; GPU=0"), True),
        (RuntimeError(CUBLAS), True),
        (MemoryError("std::bad_alloc"), True),
        (RuntimeError(DRIVER), False),
    ],
)
def test_want_of_memory_is_told_from_other_failures(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) == expected


@pytest.mark.parametrize(
    ("error", "expected", "hint"),
    [
        (InvalidArgument("Got invalid dimensions"), BundleError, "export the checkpoint again"),
        (RuntimeError(ARENA), OutOfMemoryError, "smaller batch"),
        (RuntimeError(DRIVER), MissingCapabilityError, "vgg-run verify"),
    ],
)
def test_an_error_at_running_becomes_one_of_ours(error: Exception, expected: type[VggDeployError], hint: str) -> None:
    refusal = run_refusal((5, 3, 6, 8), error)
    assert type(refusal) is expected
    assert refusal.message == f"onnxruntime cannot run the model on a batch of shape [5, 3, 6, 8]: {cause_of(error)}"
    assert hint in refusal.hint


def test_an_error_at_loading_names_the_file() -> None:
    refusal = load_refusal(Path("model.onnx"), RuntimeError("protobuf parsing failed."))
    assert refusal.message == "onnxruntime cannot load model.onnx: protobuf parsing failed."
