"""Ranges of all activations of a float model, from one pass over images or from the cache."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from vgg_calibration.ranges.methods import METHODS, Histogram, Range
from vgg_calibration.statistics.images import CalibrationImages
from vgg_runtime._internal.cache import load_entry, store_entry
from vgg_runtime._internal.cpu import available_threads
from vgg_runtime.backends.onnxruntime_cpu import import_onnxruntime
from vgg_runtime.errors import CalibrationError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "activation_names",
    "cached_ranges",
    "collect_histograms",
    "compute_ranges",
    "load_ranges",
    "session_with_outputs",
    "store_ranges",
]


def activation_names(model: onnx.ModelProto) -> list[str]:
    """Return the names of the input and of all outputs of nodes."""
    computed = [name for node in model.graph.node for name in node.output if name]  # an omitted output has no name
    return [value.name for value in model.graph.input] + computed


def collect_histograms(
    file: Path, batches: Iterable[NDArray[np.float32]], *, on_image: Callable[[int], None] = lambda _: None
) -> dict[str, Histogram]:
    """Run the float model in ``file`` and return a histogram of every float activation, by name.

    Only the activations of one batch are in memory at a time.

    Args:
        batches: float32, NCHW.
        on_image: called with the number of images done.

    Raises:
        CalibrationError: an activation is NaN or infinite.
    """
    model = onnx.load(file, load_external_data=False)
    network_input = model.graph.input[0].name
    computed = [name for name in activation_names(model) if name != network_input]
    histograms: dict[str, Histogram] = {}
    done = 0
    with session_with_outputs(model, computed, beside=file) as session:
        for batch in batches:
            outputs = session.run(computed, {network_input: batch})
            for name, values in zip([network_input, *computed], [batch, *outputs], strict=True):
                if values.dtype.kind == "f":  # and not the integers of a shape
                    _add(histograms.setdefault(name, Histogram()), name, values)
            done += len(batch)
            on_image(done)
    return histograms


def _add(histogram: Histogram, name: str, values: NDArray[np.float32]) -> None:
    try:
        histogram.add(values)
    except ValueError as error:
        raise CalibrationError(
            f"{name} becomes NaN or infinite on a calibration image; 8 bits have no range for it.",
            hint="Look for an implausible number in the weights or in the preprocessing.",
        ) from error


@contextmanager
def session_with_outputs(model: onnx.ModelProto, outputs: Sequence[str], *, beside: Path) -> Iterator[Any]:
    """Yield a CPU session of ``model`` with the additional ``outputs``.

    Args:
        model: the model, without its external data, which is next to the file ``beside``; it is changed.
    """
    onnxruntime = import_onnxruntime()
    output_names = {value.name for value in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs if name not in output_names)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = available_threads()
    options.log_severity_level = 3
    # Weights stay mapped from the file; packing would copy them.
    options.add_session_config_entry("session.disable_prepacking", "1")
    # External data is relative to the model's file, so the changed model is written beside the original for a moment.
    file = beside.with_name(f".{beside.name}.with-outputs")
    try:
        onnx.save(model, file)
        yield onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    finally:
        file.unlink(missing_ok=True)


def compute_ranges(
    file: Path,
    batches: Iterable[NDArray[np.float32]],
    method: str,
    *,
    on_image: Callable[[int], None] = lambda _: None,
) -> dict[str, Range]:
    """Return the range of every float activation of the model in ``file`` by name, by ``method`` (one of METHODS).

    Args:
        batches: float32, NCHW.
        on_image: called with the number of images done.

    Raises:
        CalibrationError: an activation is NaN or infinite.
    """
    histograms = collect_histograms(file, batches, on_image=on_image)
    return {name: METHODS[method](histogram) for name, histogram in histograms.items()}


def cached_ranges(
    file: Path,
    model_sha256: str,
    images: CalibrationImages,
    method: str,
    *,
    batch_size: int = 1,
    on_image: Callable[[int], None] = lambda _: None,
) -> dict[str, Range]:
    """As :func:`compute_ranges`, but reuse ranges of the same model, images and method.

    Args:
        file: float ONNX model.
        model_sha256: digest over the files of the model.
        batch_size: images that the model takes at once.
        on_image: called with the number of images done.
    """
    key = {
        "model": model_sha256,
        "images": images.sha256,
        "preprocessing": repr(images.preprocessing),
        "method": method,
        "onnxruntime": import_onnxruntime().__version__,  # it computes the activations
    }
    names = set(activation_names(onnx.load(file, load_external_data=False)))
    if (stored := load_ranges(key)) and stored.keys() <= names:
        return stored
    ranges = compute_ranges(file, images.batches(batch_size), method, on_image=on_image)
    store_ranges(key, ranges)
    return ranges


def load_ranges(key: Mapping[str, str]) -> dict[str, Range] | None:
    """Return the ranges stored under ``key``, by tensor; None if there are none, or they are unreadable."""
    try:
        stored = load_entry("ranges", key) or {}
        ranges = {name: Range(float(low), float(high)) for name, (low, high) in stored["ranges"].items()}
        return ranges if len(ranges) == stored["count"] else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None  # absent or damaged: the images are run again


def store_ranges(key: Mapping[str, str], ranges: Mapping[str, Range]) -> None:
    """Store ``ranges`` under ``key``; a cache that cannot be written is not an error."""
    pairs = {name: [span.low, span.high] for name, span in ranges.items()}
    store_entry("ranges", key, {"ranges": pairs, "count": len(pairs)})
