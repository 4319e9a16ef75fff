"""``BatchingQueue``: callers submit single images, the network runs them in batches."""

from __future__ import annotations

import atexit
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, SimpleQueue
from threading import BoundedSemaphore, Lock, Thread
from typing import Any

from vgg_runtime._array_checks import check_image
from vgg_runtime._internal.fork_safe_lock import require_own_threads
from vgg_runtime._internal.lazy_numpy import NDArray, np
from vgg_runtime._internal.validation import check_positive_int
from vgg_runtime.bundle.manifest import InputArray
from vgg_runtime.classifier import DEFAULT_BATCH_SIZE, Classifier, Prediction
from vgg_runtime.errors import QueueFullError, UsageError
from vgg_runtime.imaging.decode import ChannelOrder, ImageSource

__all__ = ["BatchingQueue"]


@dataclass(frozen=True)
class _Request:
    """One image.

    Attributes:
        prepare: returns it as the network takes it.
        finish: returns the answer for its outputs, float32 (1, classes).
    """

    prepare: Callable[[], InputArray]
    finish: Callable[[NDArray[np.float32]], Any]
    answer: Future[Any] = field(default_factory=Future)


@dataclass(frozen=True)
class _Ready:
    """A request whose image was decoded at ``since``, in seconds of the monotonic clock."""

    request: _Request
    planes: InputArray
    since: float = field(default_factory=time.monotonic)


class BatchingQueue:
    """Gathers the images of many callers into batches, for devices that run several at once faster than one by one.

    Separate threads decode images as they come in. A batch runs as soon as it is full, or when its first image has
    waited for ``max_wait_ms``. An image that is refused affects only its own caller. A queue that was left open
    is closed when the interpreter exits.

    Args:
        classifier: belongs to the caller, and stays open when the queue is closed.
        max_batch: maximum number of images that run at once.
        max_wait_ms: maximum time in milliseconds that an image waits for others to join it.
        max_pending: maximum number of unanswered images; the next :meth:`submit` waits, or raises.

    Raises:
        UsageError: an argument is out of range.

    Examples:
        >>> from vgg_runtime import BatchingQueue, Classifier
        >>> with Classifier("slim_vgg.bundle") as classifier, BatchingQueue(classifier, max_batch=4) as queue:
        ...     futures = [queue.submit(path) for path in ("coat.png", "photos/bag/00018.png")]
        ...     print([future.result()[0].label for future in futures])
        ['coat', 'bag']
    """

    def __init__(
        self,
        classifier: Classifier,
        *,
        max_batch: int = DEFAULT_BATCH_SIZE,
        max_wait_ms: float = 5.0,
        max_pending: int = 64,
    ) -> None:
        if not 0 <= max_wait_ms < float("inf"):
            raise UsageError(f"`max_wait_ms` must be finite and >= 0, got {max_wait_ms}.")
        self.classifier = classifier
        self.max_batch = check_positive_int("max_batch", max_batch)
        self.max_wait_ms = max_wait_ms
        self.max_pending = check_positive_int("max_pending", max_pending)
        self._room = BoundedSemaphore(self.max_pending)
        self._ready: SimpleQueue[_Ready | None] = SimpleQueue()
        self._readers = ThreadPoolExecutor(classifier.threads, thread_name_prefix="vgg-read")
        self._runner = Thread(target=self._run, name="vgg-batch", daemon=True)
        self._runner.start()
        self._process = os.getpid()
        self._closing = Lock()
        self._closed = False
        # The engine aborts the process if its thread is ended in the middle of a call.
        atexit.register(self.close)

    def __repr__(self) -> str:
        text = (
            f"{type(self).__name__}({self.classifier!r}, max_batch={self.max_batch}, "
            f"max_wait_ms={self.max_wait_ms}, max_pending={self.max_pending})"
        )
        return f"<closed {text}>" if self._closed else text

    def submit(
        self, image: ImageSource, *, top_k: int = 5, channels: ChannelOrder = "RGB", block: bool = True
    ) -> Future[list[Prediction]]:
        """Return a future of what :meth:`Classifier.predict` returns or raises, without waiting for it.

        It can be cancelled until its image is decoded. With asyncio, await ``asyncio.wrap_future(...)``.

        Args:
            image, top_k, channels: as :meth:`Classifier.predict` takes them.
            block: if ``max_pending`` images are unanswered, wait until one of them is answered; False raises instead.

        Raises:
            QueueFullError: ``max_pending`` images are unanswered, and ``block`` is False.
            UsageError: ``top_k`` is less than 1, the queue is closed, or was made before this process was forked.
        """
        rank = partial(self.classifier.rank, top_k=check_positive_int("top_k", top_k))
        prepare = partial(self.classifier.preprocess, image, channels=channels)
        return self._submit(_Request(prepare, lambda outputs: rank(outputs)[0]), block=block)

    def submit_prepared(self, planes: InputArray, *, block: bool = True) -> Future[NDArray[np.float32]]:
        """Return a future of the network's raw output, float32 (classes,), for one image.

        Args:
            planes: the image as :meth:`Classifier.preprocess` returns it.
            block: as :meth:`submit` takes it.

        Raises:
            ImageError: ``planes`` does not fit the model, or has a value that is not finite.
            QueueFullError, UsageError: as :meth:`submit`.

        Examples:
            >>> from vgg_runtime import BatchingQueue, Classifier
            >>> with Classifier("slim_vgg.bundle") as classifier, BatchingQueue(classifier) as queue:
            ...     outputs = queue.submit_prepared(classifier.preprocess("coat.png")).result()
            >>> outputs.shape, int(outputs.argmax())
            ((10,), 4)
        """
        check_image(planes, self.classifier.manifest.input)
        return self._submit(_Request(lambda: planes, lambda outputs: outputs[0]), block=block)

    def _submit(self, request: _Request, *, block: bool) -> Future[Any]:
        require_own_threads(self._process, "queue")
        if not self._room.acquire(blocking=block):
            raise QueueFullError(
                f"{self.max_pending} images are unanswered, the most that `max_pending` allows.",
                hint="Try again later.",
            )
        request.answer.add_done_callback(lambda _: self._room.release())
        with self._closing:
            if self._closed:
                request.answer.cancel()
                raise UsageError("this queue is closed.")
            self._readers.submit(self._read, request)
        return request.answer

    def predict(self, image: ImageSource, *, top_k: int = 5, channels: ChannelOrder = "RGB") -> list[Prediction]:
        """Submit ``image`` and wait for the answer; raises what :meth:`submit` and :meth:`Classifier.predict` raise."""
        return self.submit(image, top_k=top_k, channels=channels).result()

    def close(self) -> None:
        """Accept no more images, answer those submitted, and end the threads. Calling it again does nothing."""
        if self._process != os.getpid():  # a forked child has none of the threads
            return
        with self._closing:
            self._closed = True
        self._readers.shutdown()
        self._ready.put(None)
        self._runner.join()
        atexit.unregister(self.close)

    def __enter__(self) -> BatchingQueue:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self, request: _Request) -> None:
        if not request.answer.set_running_or_notify_cancel():
            return
        try:
            planes = request.prepare()
        except Exception as error:
            request.answer.set_exception(error)
        else:
            self._ready.put(_Ready(request, planes))

    def _run(self) -> None:
        for batch in self._batches():
            self._answer(batch)

    def _batches(self) -> Iterator[list[_Ready]]:
        while (first := self._ready.get()) is not None:
            batch = [first]
            end = first.since + self.max_wait_ms / 1e3
            while len(batch) < self.max_batch and (another := self._wait_until(end)) is not None:
                batch.append(another)
            yield batch

    def _wait_until(self, end: float) -> _Ready | None:
        try:
            ready = self._ready.get(timeout=max(0.0, end - time.monotonic()))
        except Empty:
            return None
        if ready is None:
            self._ready.put(None)  # the end mark, for the next reader
        return ready

    def _answer(self, batch: list[_Ready]) -> None:
        try:
            outputs = self.classifier.run([ready.planes for ready in batch])
        except Exception as error:
            if len(batch) == 1:
                batch[0].request.answer.set_exception(error)
                return
            for ready in batch:  # one image may be the cause, so run each by itself
                self._answer([ready])
        else:
            for ready, row in zip(batch, outputs, strict=True):
                self._finish(ready.request, row[np.newaxis])

    def _finish(self, request: _Request, outputs: NDArray[np.float32]) -> None:
        try:
            request.answer.set_result(request.finish(outputs))
        except Exception as error:
            request.answer.set_exception(error)
