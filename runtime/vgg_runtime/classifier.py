"""``Classifier``: image in, labels out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal

import numpy as np

from vgg_runtime.backends import Backend, Device, Placement, open_backend
from vgg_runtime.bundle import open_bundle
from vgg_runtime.errors import BundleError, ImageError, UsageError, VerificationError
from vgg_runtime.images import MAX_PIXELS, ImageSource, image_name, read_image
from vgg_runtime.manifest import Manifest, Variant
from vgg_runtime.probabilities import probabilities
from vgg_runtime.threads import available_threads

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ENGINES", "METADATA_KEY", "Classifier", "Prediction"]

# Where a lone ONNX or TorchScript file carries its manifest (without variants) as JSON.
METADATA_KEY = "vgg_deploy.json"

DEFAULT_BATCH_SIZE = 8

# The backend that runs a format, where the caller names none.
ENGINES = {"onnx": "onnxruntime", "torchscript": "torchscript"}


@dataclass(frozen=True)
class Prediction:
    """One class of one image.

    Attributes:
        label: name of the class; its index as text where the bundle has no labels.
        index: position in the network's output.
        probability: 0 to 1.
    """

    label: str
    index: int
    probability: float


class Classifier:
    """A variant of a bundle, loaded and ready.

    Made by :meth:`open`. One classifier may be shared by threads. After a fork the child loads the model again
    at its first call, because the engine's threads do not survive it.
    """

    def __init__(self, manifest: Manifest, variant: str, load: Callable[[], Backend], backend: Backend) -> None:
        self._load = load
        self._backend: Backend | None = backend
        self._process = os.getpid()
        self.manifest = manifest
        self.variant = variant
        self.device: Literal["cpu", "cuda"] = backend.device
        self.device_reason = backend.device_reason
        self.max_pixels = MAX_PIXELS

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        variant: str | None = None,
        device: Device = "auto",
        threads: int | None = None,
        backend: str | None = None,
        verify: bool = True,
        max_pixels: int = MAX_PIXELS,
    ) -> Classifier:
        """Load a variant of the bundle at ``path``, or a lone ``.onnx`` file that vgg-export wrote.

        Args:
            path: directory of the bundle, or the file.
            variant: its name; by default ``onnx-fp32``, or the first ONNX variant where that is not there. A lone
                file has none.
            device: "cuda" runs on CUDA or raises; "auto" takes CUDA where it works, else the CPU
                (``device_reason`` says why).
            threads: CPU threads for one call; by default as many as this process may use at once.
            backend: engine that runs it; by default the one for the variant's format.
            verify: compare the files with their checksums first.
            max_pixels: larger images are refused before they are decoded.

        Raises:
            BundleError: the bundle is damaged or lacks the variant.
            MissingCapabilityError: the engine or the device is missing.
            UsageError: an argument is out of range, or names a variant of a lone file.
        """
        if device not in ("auto", "cpu", "cuda"):
            raise UsageError(f"device is {device!r}; it is auto, cpu or cuda.")
        if threads is not None and threads < 1:
            raise UsageError(f"threads is {threads}; it is at least 1.")
        placement = Placement(device, available_threads() if threads is None else threads)
        if Path(path).is_file():
            if variant is not None:
                raise UsageError(f"{path} is a file, not a bundle: it has no variant {variant!r} to choose.")
            engine = backend or ENGINES["torchscript" if Path(path).suffix == ".pt" else "onnx"]
            classifier = cls._open_file(Path(path), engine, placement)
        else:
            classifier = cls._open_bundle(path, variant, backend, placement, verify)
        classifier.max_pixels = max_pixels
        return classifier

    @classmethod
    def _open_bundle(
        cls, path: str | os.PathLike[str], name: str | None, backend: str | None, placement: Placement, verify: bool
    ) -> Classifier:
        bundle = open_bundle(path)
        chosen = _default_variant(bundle.manifest) if name is None else bundle.manifest.variant(name)
        if verify and (changed := bundle.changed_files(chosen)):
            raise BundleError(
                f"the bundle was changed after it was written: {', '.join(changed)} (SHA-256 differs).",
                hint="Copy the bundle again from where it was exported.",
            )
        engine = backend or ENGINES[chosen.format]
        load = partial(open_backend, engine, bundle.path(chosen.file), placement)
        return cls(bundle.manifest, chosen.name, load, load())

    @classmethod
    def _open_file(cls, path: Path, backend: str, placement: Placement) -> Classifier:
        load = partial(open_backend, backend, path, placement)
        loaded = load()
        if METADATA_KEY not in loaded.metadata:
            raise BundleError(
                f"{path} carries no {METADATA_KEY} in its metadata, so its preprocessing and labels are unknown.",
                hint="Name the directory of a bundle, or a file that vgg-export wrote.",
            )
        manifest = Manifest.parse(loaded.metadata[METADATA_KEY], source=f"the metadata of {path}")
        return cls(manifest, path.stem, load, loaded)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the outputs."""
        return self.manifest.labels or tuple(map(str, range(self.manifest.output.classes)))

    def preprocess(self, image: ImageSource) -> NDArray[np.float32]:
        """Return ``image`` as the network takes it: float32 (channels, height, width).

        Raises:
            ImageError: the image was refused, or preprocessing does not bring it to the network's input size.
        """
        planes = self.manifest.preprocessing(read_image(image, max_pixels=self.max_pixels))
        if planes.shape[1:] != self.manifest.input.size:
            height, width = self.manifest.input.size
            raise ImageError(
                f"{image_name(image)} has {planes.shape[2]} x {planes.shape[1]} pixels after preprocessing; the "
                f"network takes {width} x {height}.",
                hint="Export with --preprocess that resizes or crops to that size.",
            )
        return planes

    def predict(self, image: ImageSource, *, top_k: int = 5) -> list[Prediction]:
        """Return the ``top_k`` most probable classes of one image, best first.

        Raises:
            ImageError: the image was refused.
        """
        return self.predict_batch([image], top_k=top_k)[0]

    def predict_batch(
        self, images: Iterable[ImageSource], *, top_k: int = 5, batch_size: int = DEFAULT_BATCH_SIZE
    ) -> list[list[Prediction]]:
        """Return the ``top_k`` most probable classes of each image, best first; at most ``batch_size`` run at once.

        Raises:
            ImageError: an image was refused.
        """
        planes = (self.preprocess(image) for image in images)
        batches = _batches(planes, batch_size)
        return [predictions for batch in batches for predictions in self.classify(batch, top_k=top_k)]

    def classify(self, planes: Sequence[NDArray[np.float32]], *, top_k: int = 5) -> list[list[Prediction]]:
        """Return the ``top_k`` most probable classes of images that :meth:`preprocess` made, run as one batch."""
        if not planes:
            return []
        fixed = self.manifest.input.batch_size
        if fixed is None:
            return self.rank(self.logits(np.stack(planes)), top_k=top_k)
        predictions: list[list[Prediction]] = []
        for part in _batches(planes, fixed):
            # A model of fixed batch size takes no less: the rest is padded with the last image and dropped again.
            padded = np.stack(part + [part[-1]] * (fixed - len(part)))
            predictions += self.rank(self.logits(padded)[: len(part)], top_k=top_k)
        return predictions

    def rank(self, outputs: NDArray[np.float32], *, top_k: int = 5) -> list[list[Prediction]]:
        """Return the ``top_k`` most probable classes for each row of ``outputs`` (batch, classes), best first.

        Raises:
            VerificationError: an output is such that there is no probability: NaN, or an infinite logit.
        """
        if top_k < 1:
            raise UsageError(f"top_k is {top_k}; it is at least 1.")
        labels, shares = self.labels, probabilities(outputs, self.manifest.output.kind)
        if not np.isfinite(shares).all():
            raise VerificationError(
                f"the variant {self.variant} gave outputs that are not finite (NaN or infinity) on {self.device}.",
                hint="Take a variant of higher precision, and run vgg-run verify on the bundle.",
            )
        # By output rather than by probability: float rounding may tie two probabilities; stable keeps index order.
        order = np.argsort(-outputs, axis=1, kind="stable")[:, :top_k]
        return [
            [Prediction(labels[i], int(i), float(row[i])) for i in best]
            for row, best in zip(shares, order, strict=True)
        ]

    def logits(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the network's raw output, float32 (batch, classes), for preprocessed float32 NCHW ``batch``.

        Raises:
            ImageError: the batch has another dtype, rank, size or number of images, or values that are not finite.
            BundleError: the model does not fit the manifest.
        """
        self._check_batch(batch)
        outputs = self._open_backend().run(np.ascontiguousarray(batch))
        expected = (len(batch), self.manifest.output.classes)
        if outputs.shape != expected:
            raise BundleError(f"the model gave outputs of shape {outputs.shape}; the manifest says {expected}.")
        return outputs

    def _open_backend(self) -> Backend:
        backend = self._backend  # read once: another thread may close the classifier
        if backend is None:
            raise UsageError("this classifier is closed.")
        if self._process != os.getpid():
            backend = self._backend = self._load()
            self._process = os.getpid()
        return backend

    def _check_batch(self, batch: NDArray[np.float32]) -> None:
        expected = self.manifest.input
        wanted = f"float32 {list(expected.shape)} in {expected.layout} order"
        if not isinstance(batch, np.ndarray) or batch.dtype != np.float32 or batch.ndim != 4:
            found = f"{batch.dtype} {list(batch.shape)}" if isinstance(batch, np.ndarray) else type(batch).__name__
            raise ImageError(f"the batch is {found}; the network takes {wanted}.")
        if tuple(batch.shape[1:]) != expected.shape[1:] or len(batch) != (expected.batch_size or max(len(batch), 1)):
            raise ImageError(f"the batch has shape {list(batch.shape)}; the network takes {wanted}.")
        if not np.isfinite(batch).all():
            raise ImageError("the batch has values that are not finite (NaN or infinity).")

    def close(self) -> None:
        """Release the model. Calling it again does nothing."""
        self._backend = None

    def __enter__(self) -> Classifier:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _default_variant(manifest: Manifest) -> Variant:
    onnx = [variant for variant in manifest.variants if variant.format == "onnx"]
    if not onnx:
        raise BundleError(
            f"the bundle has no ONNX variant: {', '.join(variant.name for variant in manifest.variants)}.",
            hint="Export with --format onnx.",
        )
    return next((variant for variant in onnx if variant.precision == "fp32"), onnx[0])


def _batches(planes: Iterable[NDArray[np.float32]], size: int) -> Iterator[list[NDArray[np.float32]]]:
    if size < 1:
        raise UsageError(f"the batch size is {size}; it is at least 1.")
    rest = iter(planes)
    while batch := list(islice(rest, size)):
        yield batch
