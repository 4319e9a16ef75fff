"""The errors of ONNX Runtime in terms of ours. Its classes tell little and share no base, so the text has to."""

from __future__ import annotations

import re
from pathlib import Path

from vgg_runtime.errors import BundleError, MissingCapabilityError, OutOfMemoryError

__all__ = ["cause_of", "is_out_of_memory", "load_refusal", "run_refusal"]

_OUT_OF_MEMORY = re.compile("Failed to allocate memory|out of memory|_ALLOC_FAILED")

# What matters of an error that crossed several layers of C++: "CUDA failure 2: out of memory ; GPU=0 ; hostname=...".
_CAUSE = re.compile(r"\w+ failure -?\d+: [^;\n]*[^;\s]|Failed to allocate memory for requested buffer of size \d+")


def load_refusal(model: Path, error: Exception) -> BundleError:
    """Return the error that stands for ``error``, raised by the file ``model``."""
    hint = "Run vgg-run verify on the bundle."
    if "external data" in str(error).lower():
        hint = f"Its weights have to lie beside it, in {model.name}.data; or export with --single-file."
    return BundleError(f"onnxruntime cannot load {model}: {cause_of(error)}", hint=hint)


def run_refusal(shape: tuple[int, ...], error: Exception) -> BundleError | MissingCapabilityError:
    """Return the error that stands for ``error``, raised by a batch of ``shape``."""
    text = f"onnxruntime cannot run the model on a batch of shape {list(shape)}: {cause_of(error)}"
    if type(error).__name__ == "InvalidArgument":
        return BundleError(text, hint="The model does not fit the manifest; export the checkpoint again.")
    if is_out_of_memory(error):
        return OutOfMemoryError(text, hint="Take a smaller batch, or a device with more memory.")
    return MissingCapabilityError(text, hint="Run vgg-run verify on the bundle, on this machine and device.")


def is_out_of_memory(error: Exception) -> bool:
    """Tell whether memory did not suffice: by the words of the allocator, CUDA, cuBLAS or cuDNN."""
    return isinstance(error, MemoryError) or _OUT_OF_MEMORY.search(str(error)) is not None


def cause_of(error: Exception) -> str:
    """Return the part of the text that says what went wrong, else its first line; the rest is a trace."""
    found = _CAUSE.search(str(error))
    return found[0] if found else str(error).strip().partition("\n")[0] or type(error).__name__
