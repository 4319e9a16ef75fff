"""A bounded pipeline of threads that work ahead of the consumer."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import TypeVar

import numpy as np

from vgg_runtime.imaging.decode import ImageSource

__all__ = ["prefetch", "prefetch_images"]

Result = TypeVar("Result")


def prefetch(jobs: Iterable[Callable[[], Result]], *, workers: int, ahead: int) -> Iterator[Result]:
    """Yield the result of each job, in order, while ``workers`` threads do the following ones.

    It pays off if jobs release the interpreter's lock, as Pillow does while it decodes and resizes. ``jobs`` itself is
    iterated by the caller's thread. The threads end with the iterator, even if it is abandoned early.

    Args:
        ahead: maximum number of jobs that are started before their results are consumed; it limits memory.

    Raises:
        Exception: what a job raised, in its place.
    """
    rest = iter(jobs)
    with ThreadPoolExecutor(workers, thread_name_prefix="vgg-prefetch") as pool:
        results: deque[Future[Result]] = deque()
        try:
            results.extend(pool.submit(job) for job in islice(rest, ahead))
            while results:
                result = results.popleft().result()
                results.extend(pool.submit(job) for job in islice(rest, 1))
                yield result
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def prefetch_images(
    images: Iterable[ImageSource], read: Callable[[ImageSource], Result], *, workers: int, ahead: int
) -> Iterator[Result]:
    """Yield ``read(image)`` of each image, in order; arguments and errors as for :func:`prefetch`.

    Pillow images and file objects, which two threads must not share, are read by the caller's thread. Arrays are
    copied, because a camera's loop often yields the same buffer again.
    """
    return prefetch((_reading_job(image, read) for image in images), workers=workers, ahead=ahead)


def _reading_job(image: ImageSource, read: Callable[[ImageSource], Result]) -> Callable[[], Result]:
    if isinstance(image, np.ndarray):
        return partial(read, image.copy())
    if isinstance(image, bytearray | memoryview):
        return partial(read, bytes(image))
    if isinstance(image, str | os.PathLike | bytes):
        return partial(read, image)
    result = read(image)
    return lambda: result
