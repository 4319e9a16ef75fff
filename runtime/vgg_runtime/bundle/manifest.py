"""The manifest of a bundle, ``bundle.json``, defined only here."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ForwardRef, Literal, TypeAlias, get_args

from vgg_runtime._internal.json_codec import MismatchError, dump_json, from_json
from vgg_runtime._internal.lazy_numpy import Image, NDArray, np
from vgg_runtime._internal.validation import counted
from vgg_runtime.bundle.migrations import MIGRATIONS, SCHEMA_VERSION, migrate
from vgg_runtime.errors import BundleError, ImageError
from vgg_runtime.imaging.preprocessing import Preprocessing

if TYPE_CHECKING:
    # An image, or a batch, as a variant takes it: with the dtype and layout of the manifest's input.
    InputArray: TypeAlias = NDArray[np.float32 | np.uint8]
else:
    # The same, but numpy is not imported until somebody asks for the type hints.
    InputArray = ForwardRef("NDArray[np.float32 | np.uint8]", module=__name__)

__all__ = [
    "MAX_INPUT_VALUES",
    "MAX_MANIFEST_BYTES",
    "SCHEMA_VERSION",
    "Accuracy",
    "Architecture",
    "Calibration",
    "InputArray",
    "InputSpec",
    "LeftOutVariant",
    "Manifest",
    "Origin",
    "OutputKind",
    "OutputSpec",
    "ParityFigures",
    "Source",
    "Tolerance",
    "Variant",
    "matches_checksum",
]

# A thousand labels take 30 kB; parsed JSON takes some fifty times its size in memory.
MAX_MANIFEST_BYTES = 16 * 2**20

# Of one batch; 512 MiB as float32, some 890 images of 224 x 224. A reader allocates what the manifest says.
MAX_INPUT_VALUES = 2**27

# Where the checksum of the manifest is to be, while it is computed.
_BLANK = "0" * 64

Origin = Literal["recognised", "named", "user code", "module"]
OutputKind = Literal["logits", "log_probabilities", "probabilities"]


@dataclass(frozen=True)
class Architecture:
    """The architecture of the network and how it was determined.

    Attributes:
        name: such as "vgg16_bn", "torchvision:resnet18" or "lesson:Net".
        origin: whether it was recognised by the checkpoint's keys, named by the user, or came as code or a module.
        reasons: the evidence in the checkpoint.
        assumptions: defaults that were used because the checkpoint does not state the value.
        macs: multiply-accumulates of convolutions and linear layers for one image; None if not counted.
        activations: how many numbers one image and the outputs of those layers for it have.
    """

    name: str
    description: str
    origin: Origin
    reasons: tuple[str, ...] = ()
    assumptions: tuple[str, ...] = ()
    macs: int | None = None
    activations: int | None = None

    def __post_init__(self) -> None:
        if self.origin not in get_args(Origin):
            raise ValueError(f"origin must be one of {get_args(Origin)}, got {self.origin!r}")


@dataclass(frozen=True)
class Source:
    """Where the weights come from.

    Attributes:
        kind: form of the checkpoint ("state dict", "module", "safetensors", ...), or "random" or "torchvision".
        weights: "random" weights are for measuring size and speed only.
        bytes: size of the checkpoint file, None if there was none.
        sha256: hexadecimal digest of the checkpoint file, None if there was none.
        averaged: whether the weights are a running average of the trained ones.
        notes: changes made while reading the checkpoint: prefixes removed, dtypes converted, ...
    """

    kind: str
    weights: Literal["trained", "pretrained", "random"]
    bytes: int | None = None
    sha256: str | None = None
    notes: tuple[str, ...] = ()
    averaged: bool = False


@dataclass(frozen=True)
class InputSpec:
    """What every variant takes: one tensor of images.

    Attributes:
        shape: sizes in the order of ``layout``; the first is the name of the dynamic batch dimension, or its fixed
            size.
        dtype, layout: float32 NCHW is fully preprocessed. uint8 NHWC has all steps before scaling, with channels in the
            order of the preprocessing; the variant itself scales and normalizes it.
    """

    shape: tuple[str | int, ...]
    name: str = "input"
    dtype: Literal["float32", "uint8"] = "float32"
    layout: Literal["NCHW", "NHWC"] = "NCHW"

    def __post_init__(self) -> None:
        if (self.dtype, self.layout) not in (("float32", "NCHW"), ("uint8", "NHWC")):
            raise ValueError(f"input must be float32 NCHW or uint8 NHWC, got {self.dtype} {self.layout}")
        if len(self.shape) != 4 or any(not isinstance(size, int) or size < 1 for size in self.shape[1:]):
            raise ValueError(f"shape must have one size for each of {self.layout}, got {list(self.shape)}")
        if isinstance(self.shape[0], int) and self.shape[0] < 1:
            raise ValueError(f"the batch size must be >= 1, got {list(self.shape)}")
        if self.values * (self.batch_size or 1) > MAX_INPUT_VALUES:
            raise ValueError(f"a batch may have {MAX_INPUT_VALUES:,} values at most, got {list(self.shape)}")

    @property
    def batch_size(self) -> int | None:
        """The fixed batch size, or None if it is dynamic."""
        return self.shape[0] if isinstance(self.shape[0], int) else None

    @property
    def takes_pixels(self) -> bool:
        """Whether scaling and normalization were embedded into the variants, which then take uint8 NHWC."""
        return self.dtype == "uint8"

    @property
    def image_shape(self) -> tuple[int, ...]:
        """The sizes of one image in the order of ``layout``."""
        return tuple(map(int, self.shape[1:]))

    @property
    def values(self) -> int:
        """How many numbers one image has."""
        return math.prod(self.image_shape)

    @property
    def channels(self) -> int:
        return int(self.shape[self.layout.index("C")])

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return int(self.shape[self.layout.index("H")]), int(self.shape[self.layout.index("W")])

    def as_pixels(self) -> InputSpec:
        """Return the same input as uint8 NHWC."""
        return InputSpec((self.shape[0], *self.size, self.channels), self.name, "uint8", "NHWC")


@dataclass(frozen=True)
class OutputSpec:
    """What every variant returns: one float32 tensor (batch, classes)."""

    kind: OutputKind
    classes: int
    name: str = "output"

    def __post_init__(self) -> None:
        if self.classes < 1:
            raise ValueError(f"classes must be >= 1, got {self.classes}")


@dataclass(frozen=True)
class Tolerance:
    """The agreement with eager PyTorch that a variant must reach.

    Attributes:
        name: what the tolerance stands for, such as "float rounding".
        min_snr_db: signal-to-noise ratio in dB.
        min_cosine: cosine similarity of the worst sample.
        min_top1_agreement: share of samples with the same best class, 0 to 1, ties counted as the same.
        min_top5_agreement: mean share of the five best classes in common, 0 to 1.
        tie: two classes of a sample tie if eager PyTorch separates them by less than this many standard deviations
            of that sample's outputs, which is more than the precision can resolve.
    """

    name: str
    min_snr_db: float
    min_cosine: float
    min_top1_agreement: float
    min_top5_agreement: float
    tie: float = 0.0


@dataclass(frozen=True)
class ParityFigures:
    """Agreement of outputs with reference outputs; :func:`vgg_runtime.metrics.compare` has the formulas.

    Attributes:
        samples: images compared.
        batch_sizes: batch sizes at which they were compared.
        max_abs_error: largest absolute difference of any output, in output units.
        max_rel_error: largest absolute difference relative to the largest output of its sample.
        snr_db: signal-to-noise ratio in dB over all outputs; None if they are equal to the bit.
        cosine: cosine similarity of the worst sample.
        top1_agreement: share of samples with the same best class.
        top1_agreement_with_ties: the same, counting classes that tie by the tolerance's measure as the same.
        top5_agreement: mean share of the five best classes in common; None with five classes or fewer, which would
            always all be in common.
        worst_sample: the sample with the lowest signal-to-noise ratio.
        centered_snr_db: signal-to-noise ratio in dB of what distinguishes the samples: the mean reference output of
            each class is subtracted from the signal. None if the outputs are equal to the bit, or there is only one
            sample.

    Examples:
        >>> from vgg_runtime import open_bundle
        >>> parity = open_bundle("slim_vgg.bundle").manifest.variant("onnx-int8-static").parity
        >>> parity.top1_agreement, parity.snr_db > 30
        (1.0, True)
    """

    samples: int
    batch_sizes: tuple[int, ...]
    max_abs_error: float
    max_rel_error: float
    snr_db: float | None
    cosine: float
    top1_agreement: float
    top1_agreement_with_ties: float
    top5_agreement: float | None
    worst_sample: str
    centered_snr_db: float | None = None

    @property
    def decibels(self) -> float:
        """``snr_db`` as a number: infinity if the outputs are equal to the bit."""
        return math.inf if self.snr_db is None else self.snr_db

    @property
    def is_mostly_mean(self) -> bool:
        """Whether at least nine tenths of the signal are the same for all samples, so that ``snr_db`` says little."""
        return self.snr_db is not None and self.centered_snr_db is not None and self.snr_db - self.centered_snr_db > 10

    def misses(self, tolerance: Tolerance) -> list[str]:
        """Return what falls short of ``tolerance``, in words; empty if nothing does."""
        pairs = [
            ("signal-to-noise ratio in dB", self.decibels, tolerance.min_snr_db),
            ("cosine", self.cosine, tolerance.min_cosine),
            ("top-1 agreement", self.top1_agreement_with_ties, tolerance.min_top1_agreement),
        ]
        if self.top5_agreement is not None:
            pairs.append(("top-5 agreement", self.top5_agreement, tolerance.min_top5_agreement))
        # `not >=` rather than `<`, because NaN is a miss.
        return [f"{name} {value:.6g}, at least {minimum:.6g}" for name, value, minimum in pairs if not value >= minimum]


@dataclass(frozen=True)
class Accuracy:
    """Accuracy of eager PyTorch and of a variant on the same labelled images.

    Attributes:
        images: how many.
        eager: share that eager PyTorch gets right, 0 to 1.
        variant: share that the variant gets right, 0 to 1.
        low, high: 95 % confidence interval of ``variant - eager``.
        p_value: of McNemar's exact test of equal accuracy.
    """

    images: int
    eager: float
    variant: float
    low: float
    high: float
    p_value: float


@dataclass(frozen=True)
class Diagnosis:
    """What labelled samples say about the exported network itself, apart from its variants.

    Attributes:
        images: how many samples are labelled.
        accuracy: share that eager PyTorch gets right, 0 to 1; None if some samples are not labelled.
        low, high: ends of its 95 % interval by Wilson.
        warnings: reasons in words why the predictions may be worthless.
    """

    images: int
    accuracy: float | None = None
    low: float | None = None
    high: float | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Calibration:
    """The calibration of 8-bit activations: images and ranges.

    Attributes:
        method: how a range follows from the activations.
        images: paths relative to the given folder.
        skipped: paths of unreadable images, and why.
        sha256: digest over their names and contents.
        ranges: smallest and largest value covered, by activation.
        layer_snr_db: signal-to-noise ratio in dB of each layer's output when it alone is quantized; None for infinity.
        evaluation_snr_db: that of int8-static on other calibration images; None if it was not evaluated, or did not
            reach its goal on them.
    """

    method: str
    images: tuple[str, ...]
    skipped: tuple[str, ...]
    sha256: str
    ranges: dict[str, tuple[float, float]]
    layer_snr_db: dict[str, float | None]
    evaluation_snr_db: float | None = None


@dataclass(frozen=True)
class CompressionPoint:
    """One low-rank network that replaces the original.

    Attributes:
        ranks: channels between the two factors, by layer; other layers are unchanged.
        macs: multiply-accumulates for one image.
        parameters: number of parameters.
        agreement: share of the comparison images with the same best class as the original.
        verdict: "chosen", "passes", or what the network misses, in words.
    """

    ranks: dict[str, int]
    macs: int
    parameters: int
    agreement: float
    verdict: str = ""


@dataclass(frozen=True)
class Tuning:
    """How a low-rank network was trained to answer as the original does.

    Attributes:
        minutes: that it was allowed to take.
        steps: batches of images that it took.
        images: how many different ones there were.
        device: "cpu" or "cuda".
        agreement_before: with the original, as in a :class:`CompressionPoint`, of the network as it was factorized.
        agreement_after: of the network that the variants are.
        loss_before: mean Kullback-Leibler divergence of the softened probabilities from the original's, on the images
            that networks were compared on, in nats.
        loss_after: the same of the network that the variants are.
    """

    minutes: float
    steps: int
    images: int
    device: Literal["cpu", "cuda"]
    agreement_before: float
    agreement_after: float
    loss_before: float
    loss_after: float


@dataclass(frozen=True)
class Compression:
    """How the low-rank variants were made; they are valid for images like these.

    Attributes:
        chosen: the network of the variants.
        curve: all networks that were tried, including that one, smallest first.
        images: paths, relative to the given folder, of the images that the layers were measured on.
        compared: paths of the images that networks were compared on.
        sha256: digest over names and contents of all of these images.
        other_images: on how many images of another kind the chosen network was compared as well.
        other_agreement: its agreement on those, None if there are none.
        calibration: ranges of the low-rank variants with 8-bit activations, None if there are none.
        tuning: how the network was trained after it was chosen, None if it was not.
    """

    chosen: CompressionPoint
    curve: tuple[CompressionPoint, ...]
    images: tuple[str, ...]
    compared: tuple[str, ...]
    sha256: str
    other_images: int = 0
    other_agreement: float | None = None
    calibration: Calibration | None = None
    tuning: Tuning | None = None


@dataclass(frozen=True)
class Variant:
    """One exported file.

    Attributes:
        name: ``<format>-<precision>``, such as "onnx-fp32", or ``<format>-lowrank-<precision>``.
        file: path of the model inside the bundle, with "/".
        external_data: path of the file with its large weights, None if they are inside ``file``.
        bytes: size of all its files.
        sha256: hexadecimal digest of each of its files, by path.
        opset: version of the ONNX operator set, None for TorchScript.
        parity: agreement with eager PyTorch, None if it was not verified.
        tolerance: what ``parity`` was held to.
        accuracy: on labelled sample images, None if there were none.
        target: preset of the CPU or GPU that a quantized variant is built for.
        notes: what was quantized, and how.
        layers: number of layers with weights, None if not counted.
        in_float: names of those that a quantized variant keeps in float.
    """

    name: str
    format: Literal["onnx", "torchscript"]
    precision: str
    file: str
    bytes: int
    sha256: dict[str, str]
    external_data: str | None = None
    opset: int | None = None
    parity: ParityFigures | None = None
    tolerance: Tolerance | None = None
    accuracy: Accuracy | None = None
    target: str | None = None
    notes: tuple[str, ...] = ()
    layers: int | None = None
    in_float: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        files = {self.file, self.external_data} - {None}
        if files != set(self.sha256):
            raise ValueError(f"sha256 covers {sorted(self.sha256)}, the files are {sorted(map(str, files))}")


@dataclass(frozen=True)
class LeftOutVariant:
    """A variant that was exported, missed its requirements, and is not in the bundle.

    Attributes:
        name: ``<format>-<precision>``, or ``<format>-lowrank-<precision>``.
        reason: what it misses, in words.
        parity: agreement with eager PyTorch, None if it could not be run.
        tolerance: what ``parity`` was held to.
        remedies: what to do about it, the most effective first.
    """

    name: str
    reason: str
    parity: ParityFigures | None = None
    tolerance: Tolerance | None = None
    remedies: tuple[str, ...] = ()


@dataclass(frozen=True)
class Manifest:
    """Everything that is known about a bundle.

    Attributes:
        labels: one name per class, None if none were given.
        golden: sha256 of ``golden.npz``, None if the variants were not verified.
        diagnosis: of the network, by labelled samples; None if none are labelled.
        calibration: images and ranges of the variants with 8-bit activations, None if there are none.
        tool_versions: version of each package that made the bundle.
        left_out: quantized and compressed variants that missed their requirements.
        compression: how the low-rank variants were made, None if there are none.
        checksum: sha256 of the text of ``bundle.json`` with 64 zeros in the place of this, None if it has none.

    Examples:
        >>> from vgg_runtime import open_bundle
        >>> manifest = open_bundle("slim_vgg.bundle").manifest
        >>> manifest.input.shape, manifest.output.classes
        (('batch', 1, 28, 28), 10)
        >>> manifest.variant("onnx-int8-static").in_float
        ()
    """

    architecture: Architecture
    source: Source
    input: InputSpec
    output: OutputSpec
    preprocessing: Preprocessing
    labels: tuple[str, ...] | None
    variants: tuple[Variant, ...]
    golden: str | None = None
    diagnosis: Diagnosis | None = None
    calibration: Calibration | None = None
    tool_versions: dict[str, str] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION
    left_out: tuple[LeftOutVariant, ...] = ()
    compression: Compression | None = None
    checksum: str | None = None

    def __post_init__(self) -> None:
        if self.schema_version != SCHEMA_VERSION:
            readable = " and ".join(map(str, [*MIGRATIONS, SCHEMA_VERSION]))
            raise ValueError(f"schema_version is {self.schema_version}; this release reads {readable}")
        if self.labels is not None and len(self.labels) != self.output.classes:
            raise ValueError(f"{counted(len(self.labels), 'label')} for {counted(self.output.classes, 'class')}")
        names = [variant.name for variant in self.variants]
        if len(set(names)) != len(names):
            raise ValueError(f"variants share a name: {', '.join(names)}")
        if self.preprocessing.channel_count != self.input.channels:
            raise ValueError(
                f"preprocessing makes {self.preprocessing.channels}, "
                f"input has {counted(self.input.channels, 'channel')}"
            )
        if self.preprocessing.output_size not in (None, self.input.size):
            raise ValueError(f"preprocessing makes {self.preprocessing.output_size}, input has {self.input.size}")
        permuted = len(self.preprocessing.permutation or ())
        if permuted not in (0, math.prod(self.input.size)):
            raise ValueError(f"preprocessing permutes {permuted} pixels, input has {self.input.size}")

    def prepare(self, image: Image.Image, *, name: str = "the image") -> InputArray:
        """Return a decoded image as the variants take it: one entry of a batch, of ``input.dtype`` and ``.layout``.

        Args:
            name: the name of the image in errors.

        Raises:
            ImageError: preprocessing refuses it, or does not bring it to the size that the variants take.
        """
        prepared = self.preprocessing.pixels(image) if self.input.takes_pixels else self.preprocessing(image)
        if prepared.shape != self.input.image_shape:
            sizes = dict(zip(self.input.layout[1:], prepared.shape, strict=True))
            height, width = self.input.size
            raise ImageError(
                f"{name} has {sizes['W']} x {sizes['H']} pixels after preprocessing; the network takes "
                f"{width} x {height}.",
                hint="Export with a `preprocess` that resizes or crops to that size.",
            )
        return prepared

    def dump(self) -> str:
        """Return the manifest as JSON text."""
        return dump_json(self, indent=2)

    def dump_with_checksum(self) -> str:
        """Return the manifest as JSON text that has the SHA-256 of itself in it."""
        text = replace(self, checksum=_BLANK).dump()
        before, _, after = text.rpartition(_BLANK)
        return f"{before}{hashlib.sha256(text.encode()).hexdigest()}{after}"

    @classmethod
    def parse(cls, text: str | bytes, *, source: str) -> Manifest:
        """Return the manifest in ``text``; ``source`` names it in errors.

        Raises:
            BundleError: the text is not JSON, or not a manifest.
        """
        try:
            return from_json(cls, migrate(json.loads(text)))
        except (MismatchError, ValueError) as error:
            raise BundleError(
                f"{source} is not a bundle manifest: {error}.", hint="Export the checkpoint again with vgg-export."
            ) from error
        except RecursionError as error:
            raise BundleError(f"{source} is not a bundle manifest: it is nested too deeply.") from error

    def variant(self, name: str) -> Variant:
        """Return the variant called ``name``.

        Raises:
            BundleError: there is none.
        """
        for variant in self.variants:
            if variant.name == name:
                return variant
        raise BundleError(
            f"the bundle has no variant {name!r}.",
            hint=f"It has {', '.join(variant.name for variant in self.variants)}.",
        )


def matches_checksum(text: bytes, checksum: str) -> bool:
    """Whether ``text`` is that of :meth:`Manifest.dump_with_checksum`, with that ``checksum`` in it."""
    if len(checksum) != len(_BLANK) or not checksum.isascii():
        return False
    before, _, after = text.rpartition(checksum.encode())
    return hashlib.sha256(before + _BLANK.encode() + after).hexdigest() == checksum
