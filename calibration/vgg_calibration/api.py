"""The public functions: quantizing any ONNX file, and the two steps of it that can be run separately.

Arguments are checked here: the functions behind these take models in a normal form, and batches that fit them.
"""

from __future__ import annotations

import os
import sys
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeAlias, TypeVar

import numpy as np
import onnx
from numpy.typing import NDArray

from vgg_calibration.float_model import open_float_model
from vgg_calibration.precisions import PRECISIONS, QuantizedFile, layer_names, write_quantized
from vgg_calibration.quantizers.base import QuantizationContext
from vgg_calibration.quantizers.int8_static import LAYER_TYPES
from vgg_calibration.ranges.methods import DEFAULT_METHOD, METHODS, Range
from vgg_calibration.statistics import collect, sensitivity
from vgg_calibration.statistics.images import CALIBRATION_SIZE, read_calibration_images
from vgg_calibration.statistics.sensitivity import LayerSensitivity
from vgg_calibration.targets import ANY_CPU, TARGETS
from vgg_runtime._array_checks import check_batch
from vgg_runtime._internal.validation import as_words
from vgg_runtime.bundle.manifest import InputSpec
from vgg_runtime.errors import CalibrationError, UsageError
from vgg_runtime.imaging.folders import choose_images
from vgg_runtime.imaging.preprocessing import Preprocessing

__all__ = ["compute_ranges", "measure_sensitivity", "quantize"]

PathLike: TypeAlias = str | os.PathLike[str]
Images: TypeAlias = PathLike | Iterable[NDArray[np.float32]]

Entry = TypeVar("Entry")


def quantize(
    model: PathLike,
    output: PathLike,
    precision: str,
    *,
    images: Images | None = None,
    preprocessing: Preprocessing | None = None,
    ranges: Mapping[str, Range] | None = None,
    method: str = DEFAULT_METHOD,
    target: str = ANY_CPU,
    in_float: str | Iterable[str] = (),
) -> QuantizedFile:
    """Quantize the float32 network in ``model``, and write it to ``output`` whole or not at all.

    Args:
        model: ONNX file with one image input, opset 13 or later, float32.
        output: ONNX file to write, with the weights inside; an existing file is replaced.
        precision: one of ``PRECISIONS``: "fp16", "int8-dynamic", "int8-static", "int8-weights", "int4-weights".
        images: images to compute the ranges of activations on, as :func:`compute_ranges` takes them. "int8-static"
            needs images or ``ranges``; "int4-weights" uses them for its convolutions; the others ignore them.
        preprocessing: the preprocessing of a folder of images.
        ranges: from :func:`compute_ranges` on this model, instead of images.
        method: how a range follows from the activations, one of ``METHODS``.
        target: CPU or GPU to quantize for, one of ``TARGETS``.
        in_float: a node or several to leave in float, by the names that :func:`measure_sensitivity` gives.

    Returns:
        which layers were quantized and which were not.

    Raises:
        UsageError: an argument is invalid or missing.
        CalibrationError: the model cannot be quantized that way, or the ranges are from another model.
        ImageError: an image or a batch does not fit the model.

    Examples:
        >>> from vgg_calibration import quantize
        >>> from vgg_runtime import Preprocessing
        >>> preprocessing = Preprocessing("L", resize=(28, 28), mean=(0.286,), std=(0.353,))
        >>> quantized = quantize(
        ...     "model.onnx", "model.int8.onnx", "int8-static", images="photos", preprocessing=preprocessing
        ... )
        >>> quantized.notes
        ('8 of 8 layers with weights quantized',)
    """
    recipe, context_target = _look_up("precision", precision, PRECISIONS), _look_up("target", target, TARGETS)
    _look_up("method", method, METHODS)
    names_in_float = as_words(in_float)
    source, file = Path(model), Path(output)
    if recipe.ranges == "required" and images is None and not ranges:
        raise UsageError(
            f"{precision} needs `images` or `ranges`.", hint="Give images like those that it will classify."
        )
    if file.exists() and source.exists() and file.samefile(source):
        raise UsageError(f"`output` is the model itself, {file}.", hint="Give another path.")
    with open_float_model(source) as float_model:
        graph = onnx.load(float_model.file, load_external_data=False)
        if unknown := sorted(set(names_in_float) - layer_names(graph).keys()):
            raise UsageError(f"`in_float`: the model has no layer with weights called {', '.join(unknown)}.")
        if recipe.ranges == "unused":
            ranges = None
        elif ranges is None and images is not None:
            batches = _batches(images, preprocessing, float_model.input_spec)
            ranges = collect.compute_ranges(float_model.file, batches, method)
        elif ranges:
            _check_ranges(ranges, graph)
        context = QuantizationContext(context_target, ranges or {}, frozenset(names_in_float))
        with tempfile.TemporaryDirectory(prefix=f".{file.name}.", dir=file.parent) as staging:
            staged = Path(staging, file.name)
            quantized = write_quantized(float_model.file, staged, recipe, context, single_file=True)
            staged.replace(file)
    return quantized


def compute_ranges(
    model: PathLike, images: Images, method: str = DEFAULT_METHOD, *, preprocessing: Preprocessing | None = None
) -> dict[str, Range]:
    """Return the range of every float activation of the float32 network in ``model``, by tensor name.

    Args:
        model: ONNX file as :func:`quantize` takes it. Names are those after BatchNorm was folded.
        images: batches, float32 (batch, channels, height, width), preprocessed as in training; they are read
            once, one at a time. Or a folder: up to 100 images from it and all of its subfolders.
        method: one of ``METHODS``.
        preprocessing: of the images in a folder.

    Raises:
        UsageError: an argument is unknown, or missing.
        CalibrationError: the model is refused, there are no images, or an activation is not finite.
        ImageError: an image or a batch does not fit the model.

    Examples:
        >>> import numpy as np
        >>> from vgg_calibration import compute_ranges
        >>> batches = [np.linspace(-0.5, 2, 784, dtype=np.float32).reshape(1, 1, 28, 28)]
        >>> ranges = compute_ranges("model.onnx", batches, method="minmax")
        >>> ranges["input"]
        Range(low=-0.5, high=2.0)
    """
    _look_up("method", method, METHODS)
    with open_float_model(Path(model)) as float_model:
        batches = _batches(images, preprocessing, float_model.input_spec)
        return collect.compute_ranges(float_model.file, batches, method)


def measure_sensitivity(
    model: PathLike,
    ranges: Mapping[str, Range],
    images: Images,
    *,
    preprocessing: Preprocessing | None = None,
    target: str = ANY_CPU,
) -> list[LayerSensitivity]:
    """Return the accuracy of each layer with weights in 8 bits by itself, in the order of the graph.

    Each layer is run with an 8-bit input and 8-bit weights, and compared with the float layer on the same input.

    Args:
        model: ONNX file as :func:`quantize` takes it.
        ranges: the ranges of its activations, from :func:`compute_ranges`.
        images: as :func:`compute_ranges` takes them; 16 or so are enough.
        preprocessing: of the images in a folder.
        target: CPU or GPU to quantize for, one of ``TARGETS``.

    Raises:
        UsageError: an argument is unknown, or missing.
        CalibrationError: the model is refused, there are no images, or the ranges are another model's.
        ImageError: an image or a batch does not fit the model.

    Examples:
        >>> from PIL import Image
        >>> from vgg_calibration import compute_ranges, measure_sensitivity
        >>> from vgg_runtime import Preprocessing
        >>> preprocessing = Preprocessing("L", resize=(28, 28), mean=(0.286,), std=(0.353,))
        >>> images = [preprocessing(Image.open("coat.png"))]
        >>> ranges = compute_ranges("model.onnx", images)
        >>> layers = measure_sensitivity("model.onnx", ranges, images)
        >>> min(layers, key=lambda layer: layer.snr_db).operator
        'Conv'
    """
    context = QuantizationContext(_look_up("target", target, TARGETS), ranges)
    with open_float_model(Path(model)) as float_model:
        _check_ranges(ranges, onnx.load(float_model.file, load_external_data=False))
        batches = _batches(images, preprocessing, float_model.input_spec)
        return sensitivity.measure_sensitivity(float_model.file, context, batches)


def _look_up(name: str, value: str, table: Mapping[str, Entry]) -> Entry:
    if value not in table:
        raise UsageError(f"unknown {name} {value!r}.", hint=f"Available: {', '.join(table)}.")
    return table[value]


def _check_ranges(ranges: Mapping[str, Range], model: onnx.ModelProto) -> None:
    layers = (node for node in model.graph.node if node.op_type in LAYER_TYPES)
    needed = dict.fromkeys(name for node in layers for name in (node.input[0], node.output[0]))
    if missing := [name for name in needed if name not in ranges]:
        raise CalibrationError(
            f"`ranges` lack {len(missing)} activations of this model: {', '.join(missing[:5])}.",
            hint="Compute them on this model, with compute_ranges.",
        )


def _batches(
    images: Images, preprocessing: Preprocessing | None, input_spec: InputSpec
) -> Iterator[NDArray[np.float32]]:
    """Yield batches that fit ``input_spec``.

    Raises:
        CalibrationError: there are none.
    """
    if isinstance(images, str | os.PathLike):
        images = _read_folder(Path(images), preprocessing, input_spec)
    elif preprocessing is not None:
        raise UsageError("`preprocessing` is for a folder of images; batches are already preprocessed.")
    empty = True
    for batch in images:
        check_batch(batch, input_spec)
        yield batch.reshape(-1, *input_spec.image_shape)
        empty = False
    if empty:
        raise CalibrationError("there are no images to calibrate on.")


def _read_folder(
    folder: Path, preprocessing: Preprocessing | None, input_spec: InputSpec
) -> Iterable[NDArray[np.float32]]:
    if preprocessing is None:
        raise UsageError(
            f"`images` is the folder {folder}, which needs `preprocessing`.",
            hint="Give the vgg_runtime.Preprocessing of the training, or batches that are already preprocessed.",
        )
    files = choose_images(folder, sys.maxsize)
    read = read_calibration_images(files, folder, preprocessing, input_spec.size, count=CALIBRATION_SIZE)
    for image in read.skipped:
        warnings.warn(f"skipped {image}", stacklevel=2)
    return read.batches(input_spec.batch_size or 1)
