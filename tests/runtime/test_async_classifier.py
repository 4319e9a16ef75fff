from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vgg_runtime import AsyncClassifier, Classifier
from vgg_runtime.errors import ImageError, UsageError

RANDOM = np.random.default_rng(0).integers(0, 256, (40, 12, 16, 3), dtype=np.uint8)


@pytest.fixture
def classifier(bundle: Path) -> Iterator[Classifier]:
    with Classifier.open(bundle, device="cpu", threads=1) as opened:
        yield opened


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("vgg-async")]


def test_awaited_predictions_are_those_of_the_classifier(classifier: Classifier) -> None:
    async def main() -> tuple[list[Any], list[Any]]:
        async with AsyncClassifier(classifier) as face:
            singly = await asyncio.gather(*(face.predict(image, top_k=2) for image in RANDOM))
            return singly, await face.predict_batch(RANDOM, top_k=2, batch_size=7)

    expected = [classifier.predict(image, top_k=2) for image in RANDOM]
    assert asyncio.run(main()) == (expected, expected)
    assert threads() == []


def test_awaited_frames_may_be_in_bgr(classifier: Classifier) -> None:
    async def main() -> list[Any]:
        async with AsyncClassifier(classifier) as face:
            frames = RANDOM[:2, :, :, ::-1]
            return [await face.predict(frames[0], channels="BGR"), *await face.predict_batch(frames, channels="BGR")]

    expected = [classifier.predict(image) for image in RANDOM[:2]]
    assert asyncio.run(main()) == [expected[0], *expected]


def test_a_refused_image_fails_its_own_await(classifier: Classifier) -> None:
    async def main() -> list[Any]:
        async with AsyncClassifier(classifier) as face:
            return await asyncio.gather(face.predict(b""), face.predict(RANDOM[0]), return_exceptions=True)

    refused, predicted = asyncio.run(main())
    assert isinstance(refused, ImageError)
    assert predicted == classifier.predict(RANDOM[0])


def test_cancelled_prediction_is_never_made(classifier: Classifier) -> None:
    entered, leave, made = threading.Event(), threading.Event(), []

    class Held:
        """A file that keeps its reader waiting."""

        def read(self, size: int = -1) -> bytes:
            entered.set()
            assert leave.wait(timeout=30)
            return b""

        def seek(self, *position: int) -> int:
            return 0

        def tell(self) -> int:
            return 0

    def images() -> Iterator[np.ndarray]:
        made.append(True)
        yield RANDOM[0]

    async def main() -> None:
        async with AsyncClassifier(classifier, workers=1) as face:
            running = asyncio.create_task(face.predict(Held()))  # type: ignore[arg-type]
            await asyncio.to_thread(entered.wait, 30)
            waiting = asyncio.create_task(face.predict_batch(images()))
            await asyncio.sleep(0)
            for task in (running, waiting):
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            leave.set()
            assert await face.predict(RANDOM[0]) == classifier.predict(RANDOM[0])

    asyncio.run(main())
    assert made == []


def test_a_closed_face_says_so_and_leaves_the_classifier_open(classifier: Classifier) -> None:
    async def main() -> None:
        face = AsyncClassifier(classifier)
        await face.close()
        await face.close()
        with pytest.raises(UsageError, match="is closed"):
            await face.predict(RANDOM[0])

    asyncio.run(main())
    assert classifier.predict(RANDOM[0])


def test_its_repr_says_whether_it_is_closed(classifier: Classifier) -> None:
    async def main() -> tuple[str, str]:
        async with AsyncClassifier(classifier, workers=3) as face:
            opened = repr(face)
        return opened, repr(face)

    text = f"AsyncClassifier({classifier!r}, workers=3)"
    assert asyncio.run(main()) == (text, f"<closed {text}>")


def test_aclosing_ends_its_threads(classifier: Classifier) -> None:
    async def main() -> None:
        async with contextlib.aclosing(AsyncClassifier(classifier)) as face:
            assert await face.predict(RANDOM[0]) == classifier.predict(RANDOM[0])
        with pytest.raises(UsageError, match="is closed"):
            await face.predict(RANDOM[0])

    asyncio.run(main())
    assert threads() == []


def test_no_worker_at_all_is_refused(classifier: Classifier) -> None:
    with pytest.raises(UsageError, match="`workers` must be an integer >= 1, got 0"):
        AsyncClassifier(classifier, workers=0)
