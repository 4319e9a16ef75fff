"""OpenVINO on the CPU, in the precision that the file was written in."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from vgg_runtime._internal.signal_errors import reraise_from_signal_handler
from vgg_runtime.backends.base import SessionConfig
from vgg_runtime.backends.onnxruntime_cpu import abandon_after_fork
from vgg_runtime.errors import BundleError, MissingCapabilityError, OutOfMemoryError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vgg_runtime.bundle.manifest import InputArray

__all__ = ["OpenVinoBackend", "import_openvino"]

_OPTIONS: dict[str, Any] = {
    # By default float32 is computed in bfloat16 if the CPU has it: 8 bits of mantissa, far from eager PyTorch.
    "INFERENCE_PRECISION_HINT": "f32",
    # By default inputs of layers with 4-bit weights are rounded to 8 bits, although the file does not say so.
    "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
    # One call uses all threads; several callers take turns, as with onnxruntime.
    "NUM_STREAMS": 1,
    # Pinned threads of two processes would wait for each other on the same first cores.
    "ENABLE_CPU_PINNING": False,
}


class OpenVinoBackend:
    """One compiled model, with as many inference requests as were ever needed at once.

    Args:
        model: an ONNX file; its external data is mapped, not copied.
        config: threads; the device is "cpu" or "auto".

    Raises:
        MissingCapabilityError: openvino is missing, or CUDA was asked for.
        BundleError: openvino refuses the file, or lacks one of its operators.
    """

    def __init__(self, model: Path, config: SessionConfig) -> None:
        if config.device == "cuda":
            raise MissingCapabilityError("OpenVINO does not run on CUDA.", hint="Use `backend='onnxruntime'`.")
        self.device = "cpu"
        self.device_reason = "as asked" if config.device == "cpu" else "OpenVINO runs on the CPU"
        network = _read(model)
        self.metadata: Mapping[str, str] = _metadata(network)
        options = _OPTIONS | {"INFERENCE_NUM_THREADS": config.threads}
        try:
            self._model = import_openvino().Core().compile_model(network, "CPU", options)
        except Exception as error:  # openvino raises RuntimeError, and other classes without a common base
            reraise_from_signal_handler(error)
            raise _load_refusal(model, error) from error
        abandon_after_fork(self._model)
        self._idle: list[Any] = []

    def run(self, batch: InputArray) -> NDArray[np.float32]:
        """Return outputs (batch, classes) for a ``batch`` of the dtype and layout that the manifest says.

        Raises:
            BundleError: the model takes another shape or dtype.
            OutOfMemoryError: there is not enough memory.
        """
        try:
            request = self._idle.pop()  # one for every call under way
        except IndexError:
            request = self._model.create_infer_request()
        try:
            in_place = batch.flags.c_contiguous and batch.flags.writeable  # openvino accepts pointers to nothing else
            request.set_input_tensor(import_openvino().Tensor(batch, shared_memory=in_place))
            request.infer()
            # Copied, because the next call writes to the same memory.
            return cast("NDArray[np.float32]", request.get_output_tensor().data.copy())
        except Exception as error:
            reraise_from_signal_handler(error)
            raise _run_refusal(batch, error) from error
        finally:
            self._idle.append(request)


def _read(model: Path) -> Any:
    openvino = import_openvino()
    # Given explicitly: otherwise a damaged file is tried in every format, each with its own error message.
    frontend = openvino.frontend.FrontEndManager().load_by_framework("onnx")
    try:
        network = frontend.convert(frontend.load(str(model)))
    except Exception as error:
        reraise_from_signal_handler(error)
        raise _load_refusal(model, error) from error
    if len(network.inputs) != 1 or len(network.outputs) != 1:
        raise BundleError(
            f"openvino finds {len(network.inputs)} inputs and {len(network.outputs)} outputs in {model}; a classifier "
            "has one of each.",
            hint="Run vgg-run verify on the bundle.",
        )
    return network


def _metadata(network: Any) -> dict[str, str]:
    """The metadata of an ONNX file, which openvino keeps under the name of the framework."""
    information = network.get_rt_info()
    stored = information["framework"] if "framework" in information else {}  # noqa: SIM401 - it has no get()
    return {name: value.astype(str) for name, value in stored.items()}


def _load_refusal(model: Path, error: Exception) -> BundleError:
    operators = str(error).partition("No conversion rule found for operations:")[2].strip()
    if operators:
        return BundleError(
            f"openvino cannot run {model}: it has no {operators}.",
            hint="Operators of com.microsoft are onnxruntime's own: use `backend='onnxruntime'`, or another variant.",
        )
    return BundleError(f"openvino cannot load {model}: {_last_line(error)}", hint="Run vgg-run verify on the bundle.")


def _run_refusal(batch: InputArray, error: Exception) -> BundleError | OutOfMemoryError:
    text = f"openvino cannot run the model on a batch of {batch.dtype} {list(batch.shape)}: {_last_line(error)}"
    if isinstance(error, MemoryError) or "bad_alloc" in str(error):
        return OutOfMemoryError(text, hint="Use a smaller batch, or a device with more memory.")
    return BundleError(text, hint="The model does not fit the manifest; export the checkpoint again.")


def _last_line(error: Exception) -> str:
    """The message of openvino after the list of its source locations."""
    return str(error).strip().rpartition("\n")[2] or type(error).__name__


@cache
def import_openvino() -> Any:
    """Return the openvino package, without its telemetry.

    Importing it would record the start in ``~/intel`` and send an event. It does without if the package
    openvino-telemetry is not installed, so that is hidden during the import.

    Raises:
        MissingCapabilityError: it is not installed.
    """
    hidden = "openvino_telemetry"
    telemetry = sys.modules.get(hidden)
    sys.modules[hidden] = None  # type: ignore[assignment]  # to Python this means that there is no such module
    try:
        import openvino
        import openvino.frontend
    except ImportError as error:
        raise MissingCapabilityError(
            f"openvino cannot be imported: {error}.",
            hint='Install it: pip install "vgg-deploy[openvino]", or use `backend="onnxruntime"`.',
        ) from error
    finally:
        sys.modules.pop(hidden, None)
        if telemetry is not None:
            sys.modules[hidden] = telemetry
    return openvino
