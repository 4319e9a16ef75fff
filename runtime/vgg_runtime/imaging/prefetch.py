"""Doing the next images' work while the present ones are used: a bounded pipeline of threads."""

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
    """Yield the result of each job, in order, while ``workers`` threads do the ones that follow.

    It pays where jobs release the interpreter's lock, as Pillow does while it decodes and resizes. ``jobs`` itself is
    iterated by the caller's thread. The threads end with the iterator, also where it is left early.

    Args:
        ahead: jobs that may be done, or in work, before their result is asked for: the bound on memory.

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
    """Yield ``read(image)`` of each image, in order; arguments and errors as of :func:`prefetch`.

    A Pillow image or a file object is not for two threads: these are read by the caller's. What the caller may write to
    is copied: a camera's loop often yields the same buffer again.
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
