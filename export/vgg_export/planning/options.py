"""The options of an export, each defined once for :func:`~vgg_export.export` and for the command line.

Related options are grouped in one frozen dataclass, checked when it is created. If ``export`` gets a plain value in
place of a group, as in ``calibration="photos/"``, that is the first field of the group.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from vgg_calibration.mixed_precision import AccuracyTarget
from vgg_calibration.ranges.methods import DEFAULT_METHOD, METHODS
from vgg_calibration.targets import ANY_CPU, TARGETS
from vgg_export.exporters.onnx import DEFAULT_OPSET
from vgg_export.variants.registry import QUANTIZE_OPTIONS, Format
from vgg_models.types import WeightsChoice
from vgg_runtime._internal.validation import as_words, check_positive_int
from vgg_runtime.errors import UsageError
from vgg_runtime.imaging.preprocessing import Preprocessing

__all__ = [
    "FORMATS",
    "CalibrationOptions",
    "CompressionOptions",
    "ModelOptions",
    "OnnxOptions",
    "Options",
    "Quantization",
    "SampleOptions",
]

FORMATS: tuple[Format, ...] = ("onnx", "torchscript")


@dataclass(frozen=True)
class ModelOptions:
    """The architecture of a checkpoint, and how to read it.

    Attributes:
        name: "vgg16", "torchvision:NAME", "module:callable" or "module:callable(key=value)" with literals; None
            recognises the architecture by the keys.
        weights: "raw" or "ema", if the checkpoint holds both the weights and a running average of them.
        attribute_order: run a whole module's children in the order of its attributes, if its class is not available.
        allow_nonfinite: accept NaN and infinity in the weights.

    Raises:
        UsageError: ``weights`` has another value.

    Examples:
        >>> from vgg_export import ModelOptions
        >>> model = ModelOptions("torchvision:vgg16", weights="ema")
    """

    name: str | None = None
    weights: WeightsChoice = "raw"
    attribute_order: bool = False
    allow_nonfinite: bool = False

    def __post_init__(self) -> None:
        _check_words("weights", [self.weights], get_args(WeightsChoice))


@dataclass(frozen=True)
class SampleOptions:
    """Real images to measure parity on.

    Attributes:
        folder: folder of images; None uses images held out from calibration, or else image-like noise.
        size: number of images to use; None uses all.

    Raises:
        UsageError: ``size`` is less than 1.

    Examples:
        >>> from vgg_export import SampleOptions
        >>> samples = SampleOptions("photos", size=100)
    """

    folder: str | os.PathLike[str] | None = None
    size: int | None = None

    def __post_init__(self) -> None:
        if self.size is not None:
            check_positive_int("samples.size", self.size)


@dataclass(frozen=True)
class CalibrationOptions:
    """How to determine the ranges of 8-bit activations.

    Attributes:
        folder: folder of real images to compute the ranges on.
        size: number of images to use; None uses up to 100.
        method: how a range follows from the activations: "minmax", "percentile", "entropy" or "mse".

    Raises:
        UsageError: ``size`` is less than 1, or the method is unknown.

    Examples:
        >>> from vgg_export import CalibrationOptions
        >>> calibration = CalibrationOptions("photos", size=50, method="percentile")
    """

    folder: str | os.PathLike[str] | None = None
    size: int | None = None
    method: str = DEFAULT_METHOD

    def __post_init__(self) -> None:
        if self.size is not None:
            check_positive_int("calibration.size", self.size)
        _check_words("calibration method", [self.method], METHODS)


@dataclass(frozen=True)
class Quantization:
    """Smaller variants besides the float32 ones, and the accuracy that they must reach.

    Attributes:
        methods: one or several of "dynamic", "static", "int8-weights", "int4-weights" and "fp16".
        target: "vnni", "avx2", "arm64", "cuda", or "any" for any CPU.
        min_agreement: share of images, 0 to 1, on which int8-static must give eager PyTorch's best class; as few bytes
            as possible stay in float to reach it.
        min_snr: signal-to-noise ratio of the outputs, in dB, that int8-static must reach in the same way.
        all_layers: quantize every layer of int8-static, and leave it out if it misses that way.

    Raises:
        UsageError: a method or the target is unknown, or an option of int8-static is given without "static".

    Examples:
        >>> from vgg_export import Quantization
        >>> Quantization(["int8"])
        Traceback (most recent call last):
        vgg_runtime.errors.UsageError: unknown quantization int8.
        Available: fp16, dynamic, static, int8-weights, int4-weights.
        >>> quantize = Quantization(["static", "int4-weights"], target="vnni", min_snr=40)
    """

    methods: Sequence[str] = ()
    target: str = ANY_CPU
    min_agreement: float | None = None
    min_snr: float | None = None
    all_layers: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "methods", as_words(self.methods))
        _check_words("quantization", self.methods, QUANTIZE_OPTIONS)
        _check_words("target", [self.target], TARGETS)
        if self.min_snr is not None and "static" not in self.methods:
            raise UsageError("`min_agreement` and `min_snr` apply to int8-static.", hint="Add `quantize=['static']`.")
        if self.all_layers and "static" not in self.methods:
            raise UsageError("`all_layers` applies to int8-static.", hint="Add `quantize=['static']`.")
        if not 0 <= (self.min_agreement or 0) <= 1:
            raise UsageError(f"`min_agreement` must be a share from 0 to 1, got {self.min_agreement}.")
        if not math.isfinite(self.min_snr or 0):
            raise UsageError(f"`min_snr` must be a finite number of dB, got {self.min_snr}.")

    @property
    def accuracy_target(self) -> AccuracyTarget:
        """What int8-static must reach besides its tolerance, by keeping layers in float."""
        return AccuracyTarget(self.min_agreement, self.min_snr)


@dataclass(frozen=True)
class CompressionOptions:
    """A low-rank network with fewer operations, exported in every variant too, and what it may lose.

    Attributes:
        speedup: divisor of the multiply-accumulates, above 1; "auto" takes the smallest network that keeps its
            predictions on calibration images set apart; None does not compress.
        min_agreement: share of images, 0 to 1, on which a low-rank variant must give eager PyTorch's best class, if the
            samples are not labelled.
        max_accuracy_drop: what it may lose of eager PyTorch's accuracy, in points, if they are labelled.
        samples_other: folder of images unlike the calibration's; the agreement on them is reported.
        tune: minutes that the low-rank network may be trained to answer as the original does; None trains nothing.

    Raises:
        UsageError: a value is out of its range, or ``tune`` is asked for and nothing is compressed.

    Examples:
        >>> from vgg_export import CompressionOptions
        >>> compress = CompressionOptions("auto", min_agreement=0.98)
    """

    speedup: float | Literal["auto"] | None = None
    min_agreement: float = 0.97
    max_accuracy_drop: float = 1.0
    samples_other: str | os.PathLike[str] | None = None
    tune: float | None = None

    def __post_init__(self) -> None:
        if not (self.speedup in ("auto", None) or (isinstance(self.speedup, int | float) and self.speedup > 1)):
            raise UsageError(f"`compress` must be 'auto' or a number above 1, got {self.speedup!r}.")
        if not 0 <= self.min_agreement <= 1:
            raise UsageError(f"`min_agreement` must be a share from 0 to 1, got {self.min_agreement}.")
        if not 0 <= self.max_accuracy_drop <= 100:
            raise UsageError(f"`max_accuracy_drop` must be from 0 to 100 points, got {self.max_accuracy_drop}.")
        if self.tune is not None and self.speedup is None:
            raise UsageError("`tune` trains the network that `compress` makes.", hint="Add `compress='auto'`.")
        if not 0 < (1 if self.tune is None else self.tune) < math.inf:
            raise UsageError(f"`tune` must be a number of minutes above 0, got {self.tune}.")

    def with_room(self, share: float) -> CompressionOptions:
        """Return the same options, by which a network may lose less by that share of it."""
        return replace(
            self,
            min_agreement=1 - (1 - self.min_agreement) * (1 - share),
            max_accuracy_drop=self.max_accuracy_drop * (1 - share),
        )


@dataclass(frozen=True)
class OnnxOptions:
    """How to write the ONNX variants.

    Attributes:
        opset: version of the ONNX operator set.
        single_file: put the weights inside the ``.onnx`` file.

    Examples:
        >>> from vgg_export import OnnxOptions
        >>> onnx = OnnxOptions(opset=18, single_file=True)
    """

    opset: int = DEFAULT_OPSET
    single_file: bool = False


@dataclass(frozen=True)
class Options:
    """The arguments of :func:`~vgg_export.export` that decide what is exported, in groups."""

    model: ModelOptions = field(default_factory=ModelOptions)
    formats: Sequence[Format] = FORMATS
    preprocess: str | Preprocessing | None = None
    input_size: tuple[int, int] | None = None
    labels: str | Sequence[str] | Mapping[Any, Any] | None = None
    samples: SampleOptions = field(default_factory=SampleOptions)
    quantize: Quantization = field(default_factory=Quantization)
    calibration: CalibrationOptions = field(default_factory=CalibrationOptions)
    compress: CompressionOptions = field(default_factory=CompressionOptions)
    onnx: OnnxOptions = field(default_factory=OnnxOptions)
    batch: int | Literal["dynamic"] = "dynamic"
    embed_preprocessing: bool = False
    verify: bool = True
    seed: int = 0

    @property
    def compresses(self) -> bool:
        """Whether variants of a low-rank network are wanted too."""
        return self.compress.speedup is not None

    def __post_init__(self) -> None:
        _check_words("format", self.formats, FORMATS)
        if not self.formats:
            raise UsageError("at least one format is needed.", hint=f"Available: {', '.join(FORMATS)}.")
        if self.samples.size is not None and self.samples.folder is None and self.calibration.folder is None:
            raise UsageError("`samples.size` has no effect without images.", hint="Add `samples=DIR`.")
        if self.quantize.min_agreement is not None and "static" not in self.quantize.methods and not self.compresses:
            raise UsageError(
                "`min_agreement` applies to int8-static and to low-rank variants.", hint="Add `quantize=['static']`."
            )
        if self.compresses and self.calibration.folder is None:
            raise UsageError("`compress` needs real images to measure layers on.", hint="Add `calibration=DIR`.")
        if self.batch != "dynamic" and self.batch < 1:
            raise UsageError(f"`batch` must be 'dynamic' or an integer >= 1, got {self.batch}.")
        if self.seed < 0:
            raise UsageError(f"`seed` must be an integer >= 0, got {self.seed}.")
        if self.input_size is not None and min(self.input_size) < 1:
            raise UsageError(f"`input_size` must be at least 1 pixel high and wide, got {self.input_size}.")


def _check_words(kind: str, words: Iterable[str], choices: Iterable[str]) -> None:
    if unknown := sorted(set(words) - set(choices)):
        raise UsageError(f"unknown {kind} {', '.join(unknown)}.", hint=f"Available: {', '.join(choices)}.")
