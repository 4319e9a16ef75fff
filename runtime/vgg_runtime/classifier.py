"""``Classifier``: image in, labels out."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Literal, NoReturn, Self, TypeVar, get_args, overload

from vgg_runtime._array_checks import check_batch, check_planes
from vgg_runtime._internal.fork_safe_lock import ForkSafeLock
from vgg_runtime._internal.lazy_numpy import NDArray, np
from vgg_runtime._internal.validation import check_positive_int
from vgg_runtime.backends.base import Backend, CudaOptions, Device, ProfileName, session_config
from vgg_runtime.bundle.manifest import InputArray
from vgg_runtime.errors import BundleError, ImageError, UsageError, VerificationError
from vgg_runtime.imaging.decode import MAX_PIXELS, ChannelOrder, ImageSource, image_name, read_image
from vgg_runtime.imaging.folders import find_images
from vgg_runtime.loading import Verify, open_model
from vgg_runtime.metrics import probabilities

Item = TypeVar("Item")
Owner = TypeVar("Owner")

# What to do about an image that is refused.
OnError = Literal["raise", "return"]

__all__ = ["Classifier", "Prediction"]

DEFAULT_BATCH_SIZE = 8

# In a forked process one thread reloads the model while the others wait.
_reopening = ForkSafeLock()


@dataclass(frozen=True)
class Prediction:
    """One predicted class of one image.

    Attributes:
        label: name of the class; its index as text if the bundle has no labels.
        index: index in the network's output.
        probability: 0 to 1.

    Examples:
        >>> from vgg_runtime import Prediction
        >>> prediction = Prediction("coat", 4, 0.9731)
        >>> f"{prediction.label}: {prediction.probability:.1%}"
        'coat: 97.3%'
    """

    label: str
    index: int
    probability: float


class _OwnClass:
    """An attribute that is the class it belongs to."""

    def __get__(self, instance: object, owner: type[Owner]) -> type[Owner]:
        return owner


class Classifier:
    """A variant of a bundle, or a lone ``.onnx`` or ``.pt`` file that vgg-export wrote, loaded and ready.

    Threads may share one classifier. After a fork the child loads the model again at its first call, because the
    engine's threads do not survive a fork.

    Args:
        path: directory of the bundle, or the file.
        variant: its name; by default ``onnx-fp32``, or the first ONNX variant if the bundle lacks that.
            "recommended" is the best one on the machine that exported, or the default if none was timed
            (``variant_reason`` says which). A lone file has no variants.
        device: "cuda" runs on CUDA or raises, "cuda:1" on the second GPU; "auto" takes CUDA if it works, else the CPU
            (``device_reason`` says why).
        threads: CPU threads for one call, and as many again to decode the next images of a batch; by default as many as
            this process may use.
        backend: engine that runs it; by default the one for the variant's format. "auto" takes the fastest in a trial
            of some seconds, which this machine remembers (``backend_reason`` says why).
        verify: compare the files with their checksums: True does so once on this machine, and again when a file was
            written to, replaced or moved; "always" at every start; False never. Hashing runs in parallel with loading,
            and no prediction is returned until it has succeeded: if the engine can load a changed file, the first
            prediction raises.
        key: PEM file of the public key that must have signed the bundle; None accepts any. With a key, the files are
            hashed at every start, before the engine loads them.
        max_pixels: larger images are refused before they are decoded.
        cuda: options of CUDA, such as TF32, for models that onnxruntime runs on it.
        profile: what to tune the CPU for: "latency" (one image at a time), "throughput" (large batches), "low-memory"
            or "shared" (processes side by side).
        allow_any_operator: run an ONNX file even if it has operators that vgg-export does not write, such as loops.
            Only for files that you trust: nothing in the process can stop one.

    Raises:
        BundleError: the bundle is damaged, lacks the variant, or has operators that are refused.
        KeyFileError: there is no such key in that file.
        MissingCapabilityError: the engine, the device or, for a key, the extra ``sign`` is missing.
        SignatureError: the bundle is not signed, or not by that key, or its manifest has changed since.
        UsageError: an argument is out of range; a lone file was named with a variant or a key, which it lacks; or
            ``verify=False`` with a key.

    Examples:
        >>> from vgg_runtime import Classifier
        >>> with Classifier("slim_vgg.bundle", variant="onnx-int8-static", device="cpu") as classifier:
        ...     best, *others = classifier.predict("coat.png", top_k=3)
        >>> best.label
        'coat'
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        variant: str | None = None,
        device: Device = "auto",
        threads: int | None = None,
        backend: str | None = None,
        verify: Verify = True,
        key: str | os.PathLike[str] | None = None,
        max_pixels: int = MAX_PIXELS,
        cuda: CudaOptions | None = None,
        profile: ProfileName = "latency",
        allow_any_operator: bool = False,
    ) -> None:
        config = session_config(device, threads, profile, cuda, allow_any_operator=allow_any_operator)
        self.max_pixels = check_positive_int("max_pixels", max_pixels)
        opened = open_model(Path(path), variant, backend, config, verify=verify, key=key)
        self._load = opened.load
        self._backend: Backend | None = opened.backend
        self._process = os.getpid()
        self.path = Path(path)
        self.manifest = opened.manifest
        self.variant = opened.variant
        self.variant_reason = opened.variant_reason
        self.device = opened.backend.device
        self.device_reason = opened.backend.device_reason
        self.metadata = opened.backend.metadata
        self.backend = opened.choice.backend
        self.backend_reason = opened.choice.reason
        self.threads = config.threads

    open = _OwnClass()
    """The class by another name: ``Classifier.open(path, ...)`` is ``Classifier(path, ...)``."""

    def __repr__(self) -> str:
        text = (
            f"{type(self).__name__}({str(self.path)!r}, variant={self.variant!r}, backend={self.backend!r}, "
            f"device={self.device!r}, threads={self.threads})"
        )
        return f"<closed {text}>" if self._backend is None else text

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the outputs."""
        return self.manifest.labels or tuple(map(str, range(self.manifest.output.classes)))

    def preprocess(self, image: ImageSource, *, channels: ChannelOrder = "RGB") -> InputArray:
        """Return ``image`` as the model takes it: float32 (channels, height, width).

        If preprocessing was embedded into the model, the result is uint8 (height, width, channels). It is meant for
        :meth:`classify` and :meth:`logits`; given to this method, uint8 is an image before any preprocessing.

        Args:
            image: what :func:`~vgg_runtime.imaging.decode.read_image` takes; or a float32 array (channels, height,
                width), or (1, channels, height, width), that has been preprocessed.
            channels: order of the colours in a uint8 array; "BGR" is for the frames of OpenCV.

        Raises:
            ImageError: the image was refused, or preprocessing does not bring it to the model's input size.
            UsageError: ``channels`` is "BGR" and ``image`` is not a uint8 array (height, width, 3 or 4).

        Examples:
            >>> from vgg_runtime import Classifier
            >>> classifier = Classifier("slim_vgg.bundle")
            >>> planes = classifier.preprocess("coat.png")
            >>> planes.shape, planes.dtype
            ((1, 28, 28), dtype('float32'))
        """
        if isinstance(image, np.ndarray) and image.dtype == np.float32 and channels == "RGB":
            return check_planes(image, self.manifest.input)
        decoded = read_image(image, max_pixels=self.max_pixels, channels=channels)
        return self.manifest.prepare(decoded, name=image_name(image))

    def predict(self, image: ImageSource, *, top_k: int = 5, channels: ChannelOrder = "RGB") -> list[Prediction]:
        """Return the ``top_k`` most probable classes of one image, best first.

        Args:
            image, channels: what :meth:`preprocess` takes.
            top_k: how many classes; all of them if there are fewer.

        Raises:
            ImageError: the image was refused.
            UsageError: ``top_k`` or ``channels`` is out of range.
        """
        return self.classify([self.preprocess(image, channels=channels)], top_k=top_k)[0]

    def predict_batch(
        self,
        images: Iterable[ImageSource],
        *,
        top_k: int = 5,
        batch_size: int = DEFAULT_BATCH_SIZE,
        channels: ChannelOrder = "RGB",
    ) -> list[list[Prediction]]:
        """Return the ``top_k`` most probable classes of each image, best first, running up to ``batch_size`` at once.

        Args:
            images: each as :meth:`preprocess` takes it. A uint8 array (images, height, width, channels) and a
                preprocessed float32 array (images, channels, height, width) are accepted too.
            top_k: how many classes of each image.
            batch_size: images that run at once, at most.
            channels: as :meth:`preprocess` takes it, for every image.

        Raises:
            ImageError: an image was refused.
            UsageError: an argument is out of range.

        Examples:
            >>> from vgg_runtime import Classifier
            >>> classifier = Classifier("slim_vgg.bundle")
            >>> first, second = classifier.predict_batch(["coat.png", "photos/bag/00018.png"], top_k=1)
            >>> first[0].label, second[0].label
            ('coat', 'bag')
        """
        return list(self.predict_iter(images, top_k=top_k, batch_size=batch_size, channels=channels))

    def predict_files(
        self,
        paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
        *,
        top_k: int = 5,
        batch_size: int = DEFAULT_BATCH_SIZE,
    ) -> Iterator[tuple[Path, list[Prediction] | ImageError]]:
        """Yield each file in ``paths``, and each image file below its folders, with its predictions or its ImageError.

        Args:
            paths: files and folders, or a single one.
            top_k: how many classes of each image.
            batch_size: images that run at once, at most.

        Raises:
            ImageError: a folder contains no images.
            UsageError: ``top_k`` or ``batch_size`` is out of range.

        Examples:
            >>> from vgg_runtime import Classifier
            >>> classifier = Classifier("slim_vgg.bundle")
            >>> for path, predictions in classifier.predict_files("photos/sandal", top_k=1):
            ...     print(path.name, predictions[0].label)
            00008.png sandal
            00011.png sandal
        """
        files = find_images(paths)
        results = self.predict_iter(files, top_k=top_k, batch_size=batch_size, on_error="return")
        return zip(files, results, strict=True)

    @overload
    def predict_iter(
        self,
        images: Iterable[ImageSource],
        *,
        top_k: int = ...,
        batch_size: int = ...,
        on_error: Literal["raise"] = ...,
        channels: ChannelOrder = ...,
    ) -> Iterator[list[Prediction]]: ...

    @overload
    def predict_iter(
        self,
        images: Iterable[ImageSource],
        *,
        top_k: int = ...,
        batch_size: int = ...,
        on_error: OnError,
        channels: ChannelOrder = ...,
    ) -> Iterator[list[Prediction] | ImageError]: ...

    def predict_iter(
        self,
        images: Iterable[ImageSource],
        *,
        top_k: int = 5,
        batch_size: int = DEFAULT_BATCH_SIZE,
        on_error: OnError = "raise",
        channels: ChannelOrder = "RGB",
    ) -> Iterator[list[Prediction] | ImageError]:
        """Yield the ``top_k`` most probable classes of each image in order, best first.

        While the network runs, ``threads`` threads decode and resize the next images; at most three batches are in
        memory at once, however many images there are. Pillow images and file objects, which two threads must not share,
        are read by the caller's thread.

        Args:
            images, channels: as :meth:`predict_batch` takes them.
            batch_size: images that run at once, at most.
            on_error: what to do about an image that is refused: raise its ImageError after the predictions of the
                images before it ("raise"), or yield the error in its place ("return").

        Raises:
            ImageError: an image was refused, and ``on_error`` is "raise".
            UsageError: an argument is out of range; raised at once, not at the first image.

        Examples:
            >>> from vgg_runtime import Classifier, ImageError
            >>> classifier = Classifier("slim_vgg.bundle")
            >>> for result in classifier.predict_iter(["coat.png", b"broken"], on_error="return"):
            ...     print("refused" if isinstance(result, ImageError) else result[0].label)
            coat
            refused
        """
        if isinstance(images, str | bytes | os.PathLike) or (isinstance(images, np.ndarray) and images.ndim != 4):
            raise UsageError(
                "expected several images, got one.",
                hint="predict() takes one image, predict_files() takes folders; pass several arrays as a list, or as "
                "one array of four dimensions.",
            )
        if on_error not in get_args(OnError):
            raise UsageError(f"`on_error` must be 'raise' or 'return', got {on_error!r}.")
        top_k, batch_size = check_positive_int("top_k", top_k), check_positive_int("batch_size", batch_size)
        results = self._predictions_and_errors(images, top_k, batch_size, channels)
        return results if on_error == "return" else _raise_errors(results)

    def _predictions_and_errors(
        self, images: Iterable[ImageSource], top_k: int, batch_size: int, channels: ChannelOrder
    ) -> Generator[list[Prediction] | ImageError]:
        from vgg_runtime.imaging.prefetch import prefetch_images  # not needed for a single image

        read = partial(self._try_preprocess, channels=channels)
        inputs = prefetch_images(images, read, workers=self.threads, ahead=2 * batch_size)
        for batch in _batches(inputs, self.manifest.input.batch_size or batch_size):
            readable = [planes for planes in batch if not isinstance(planes, ImageError)]
            predictions = iter(self.classify(readable, top_k=top_k))
            yield from (result if isinstance(result, ImageError) else next(predictions) for result in batch)

    def _try_preprocess(self, image: ImageSource, channels: ChannelOrder) -> InputArray | ImageError:
        try:
            return self.preprocess(image, channels=channels)
        except ImageError as error:
            return error

    def classify(self, planes: Sequence[InputArray], *, top_k: int = 5) -> list[list[Prediction]]:
        """Return the ``top_k`` most probable classes of images that :meth:`preprocess` made, run as one batch.

        Raises:
            ImageError: an image does not fit the model.
            UsageError: ``top_k`` is out of range.

        Examples:
            >>> from vgg_runtime import Classifier
            >>> classifier = Classifier("slim_vgg.bundle")
            >>> [[prediction]] = classifier.classify([classifier.preprocess("coat.png")], top_k=1)
            >>> prediction.label
            'coat'
        """
        return self.rank(self.run(planes), top_k=top_k) if planes else []

    def rank(self, outputs: NDArray[np.float32], *, top_k: int = 5) -> list[list[Prediction]]:
        """Return the ``top_k`` most probable classes for each row of ``outputs`` (batch, classes), best first.

        Raises:
            VerificationError: an output has no probability: it is NaN, or an infinite logit.
        """
        top_k = check_positive_int("top_k", top_k)
        labels, shares = self.manifest.labels, probabilities(outputs, self.manifest.output.kind)
        if not np.isfinite(shares).all():
            raise VerificationError(
                f"the variant {self.variant} gave outputs that are not finite (NaN or infinity) on {self.device}.",
                hint="Use a variant of higher precision, and run vgg-run verify on the bundle.",
            )
        # Sorted by output, as rounding may tie two probabilities; a stable sort keeps ties in index order.
        order = np.argsort(-outputs, axis=1, kind="stable")[:, :top_k]
        return [
            [Prediction(labels[i] if labels else str(i), int(i), float(row[i])) for i in best]
            for row, best in zip(shares, order, strict=True)
        ]

    def logits(self, batch: InputArray) -> NDArray[np.float32]:
        """Return the network's raw output, float32 (batch, classes), for preprocessed float32 NCHW ``batch``.

        One image without the batch dimension, as :meth:`preprocess` returns it, gives (1, classes). If preprocessing
        was embedded into the model, ``batch`` is uint8 NHWC, and one image is HWC.

        Raises:
            ImageError: the dtype, rank, size or number of images is wrong, or a value is not finite.
            BundleError: the model does not fit the manifest.

        Examples:
            >>> from vgg_runtime import Classifier
            >>> classifier = Classifier("slim_vgg.bundle")
            >>> outputs = classifier.logits(classifier.preprocess("coat.png"))
            >>> outputs.shape
            (1, 10)
            >>> classifier.rank(outputs, top_k=1)[0][0].label
            'coat'
        """
        check_batch(batch, self.manifest.input)
        return self._outputs(batch) if batch.ndim == 4 else self.run([batch])

    def run(self, planes: Sequence[InputArray]) -> NDArray[np.float32]:
        """Return the network's raw output, float32 (images, classes), for images that :meth:`preprocess` made.

        There is at least one. They run as one batch, or in batches of the model's fixed size.

        Raises:
            BundleError: the model does not fit the manifest.

        Examples:
            >>> from vgg_runtime import Classifier
            >>> classifier = Classifier("slim_vgg.bundle")
            >>> classifier.run([classifier.preprocess("coat.png")] * 3).shape
            (3, 10)
        """
        fixed = self.manifest.input.batch_size
        if fixed is None:
            # One image alone needs no copy.
            return self._outputs(np.stack(planes) if len(planes) > 1 else planes[0][np.newaxis])
        outputs = []
        for part in _batches(planes, fixed):
            # A model of fixed batch size takes exactly that many: pad with the last image, and drop the surplus
            # outputs.
            padded = np.stack(part + [part[-1]] * (fixed - len(part)))
            outputs.append(self._outputs(padded)[: len(part)])
        return np.concatenate(outputs)

    def _outputs(self, batch: InputArray) -> NDArray[np.float32]:
        """Run a batch made by :meth:`preprocess` or checked by :meth:`logits`."""
        outputs = self._open_backend().run(np.ascontiguousarray(batch))
        expected = (len(batch), self.manifest.output.classes)
        if outputs.shape != expected:
            raise BundleError(f"the model gave outputs of shape {outputs.shape}; the manifest says {expected}.")
        return outputs

    def _open_backend(self) -> Backend:
        if self._process != os.getpid():
            with _reopening.held():
                if self._process != os.getpid() and self._backend is not None:
                    self._backend = self._load()
                    self._process = os.getpid()
        backend = self._backend  # read once: another thread may close the classifier
        if backend is None:
            raise UsageError("this classifier is closed.")
        return backend

    def close(self) -> None:
        """Release the model. Calling it again does nothing."""
        with _reopening.held():
            self._backend = None

    def __reduce__(self) -> NoReturn:
        raise UsageError(
            "a classifier cannot be pickled, so it cannot be sent to another process.",
            hint="Open one in each process; they share the memory of float weights, which are a mapped file.",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _raise_errors(results: Generator[list[Prediction] | ImageError]) -> Iterator[list[Prediction]]:
    with closing(results):  # ends its threads, even if something keeps the error alive
        for result in results:
            if isinstance(result, ImageError):
                raise result
            yield result


def _batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch
