"""``AsyncClassifier``: a classifier for programs that run on asyncio."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from vgg_runtime._internal.fork_safe_lock import require_own_threads
from vgg_runtime._internal.validation import check_positive_int
from vgg_runtime.classifier import DEFAULT_BATCH_SIZE, Classifier, Prediction
from vgg_runtime.errors import UsageError
from vgg_runtime.imaging.decode import ChannelOrder, ImageSource

__all__ = ["AsyncClassifier"]

Result = TypeVar("Result")


class AsyncClassifier:
    """A classifier whose predictions are awaited while the event loop goes on.

    A prediction that is cancelled before it starts is never made; one that is running is finished by its thread, and
    its result is dropped. After a fork the child has to create its own, around the same classifier.

    Args:
        classifier: belongs to the caller, and stays open when this is closed.
        workers: number of predictions at once. With two, one image is decoded while the network runs another.

    Raises:
        UsageError: ``workers`` is less than 1.

    Examples:
        >>> import asyncio
        >>> from vgg_runtime import AsyncClassifier, Classifier
        >>> async def labels(*paths):
        ...     with Classifier("slim_vgg.bundle") as classifier:
        ...         async with AsyncClassifier(classifier) as predictions:
        ...             results = await asyncio.gather(*map(predictions.predict, paths))
        ...     return [result[0].label for result in results]
        >>> asyncio.run(labels("coat.png", "photos/bag/00018.png"))
        ['coat', 'bag']
    """

    def __init__(self, classifier: Classifier, *, workers: int = 2) -> None:
        self.classifier = classifier
        self.workers = check_positive_int("workers", workers)
        self._pool = ThreadPoolExecutor(self.workers, thread_name_prefix="vgg-async")
        self._process = os.getpid()
        self._closed = False

    def __repr__(self) -> str:
        text = f"{type(self).__name__}({self.classifier!r}, workers={self.workers})"
        return f"<closed {text}>" if self._closed else text

    async def predict(self, image: ImageSource, *, top_k: int = 5, channels: ChannelOrder = "RGB") -> list[Prediction]:
        """As :meth:`Classifier.predict`."""
        return await self._in_thread(partial(self.classifier.predict, image, top_k=top_k, channels=channels))

    async def predict_batch(
        self,
        images: Iterable[ImageSource],
        *,
        top_k: int = 5,
        batch_size: int = DEFAULT_BATCH_SIZE,
        channels: ChannelOrder = "RGB",
    ) -> list[list[Prediction]]:
        """As :meth:`Classifier.predict_batch`; another thread iterates over ``images``."""
        predict = partial(self.classifier.predict_batch, top_k=top_k, batch_size=batch_size, channels=channels)
        return await self._in_thread(partial(predict, images))

    async def _in_thread(self, call: Callable[[], Result]) -> Result:
        if self._closed:
            raise UsageError("this classifier is closed.")
        require_own_threads(self._process, "AsyncClassifier")
        future: Future[Result] = self._pool.submit(call)
        return await asyncio.wrap_future(future)

    async def aclose(self) -> None:
        """Accept no more calls, wait for those under way, and end the threads. Calling it again does nothing."""
        if not self._closed and self._process == os.getpid():
            self._closed = True
            await asyncio.get_running_loop().run_in_executor(None, self._pool.shutdown)

    async def close(self) -> None:
        """As :meth:`aclose`."""
        await self.aclose()

    async def __aenter__(self) -> AsyncClassifier:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
