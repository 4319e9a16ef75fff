from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vgg_runtime import BatchingQueue, Classifier, Prediction
from vgg_runtime.errors import ImageError, QueueFullError, UsageError, VerificationError

RANDOM = np.random.default_rng(0).integers(0, 256, (40, 12, 16, 3), dtype=np.uint8)
A_MINUTE = 60_000.0


@pytest.fixture
def classifier(bundle: Path) -> Iterator[Classifier]:
    with Classifier.open(bundle, device="cpu", threads=1) as opened:
        yield opened


@pytest.fixture
def batches(classifier: Classifier, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the batches that the classifier runs from now on."""
    sizes: list[int] = []
    run = classifier.run

    def counting(planes: Sequence[np.ndarray]) -> np.ndarray:
        sizes.append(len(planes))
        return run(planes)

    monkeypatch.setattr(classifier, "run", counting)
    return sizes


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(("vgg-read", "vgg-batch"))]


def test_many_callers_get_what_they_would_get_alone(classifier: Classifier) -> None:
    expected = [classifier.predict(image) for image in RANDOM]
    with BatchingQueue(classifier, max_batch=4) as queue, ThreadPoolExecutor(16) as callers:
        assert list(callers.map(queue.predict, RANDOM)) == expected
    assert threads() == []


def test_frames_in_bgr_fail_or_are_answered_each_for_itself(classifier: Classifier) -> None:
    with BatchingQueue(classifier, max_batch=2) as queue:
        refused = queue.submit(b"photo", channels="BGR")
        assert queue.predict(RANDOM[0, :, :, ::-1], channels="BGR") == classifier.predict(RANDOM[0])
        with pytest.raises(UsageError, match="got bytes"):
            refused.result()


def test_images_run_together_when_the_batch_is_full(classifier: Classifier, batches: list[int]) -> None:
    with BatchingQueue(classifier, max_batch=4, max_wait_ms=A_MINUTE) as queue:
        answers = [queue.submit(image, top_k=1 + i % 2) for i, image in enumerate(RANDOM[:8])]
        assert [len(answer.result(timeout=30)) for answer in answers] == [1, 2] * 4
    assert batches == [4, 4]


def test_an_image_waits_no_longer_than_it_may(classifier: Classifier, batches: list[int]) -> None:
    with BatchingQueue(classifier, max_batch=4, max_wait_ms=1) as queue:
        queue.submit(RANDOM[0]).result(timeout=30)
    assert batches == [1]


def test_closing_answers_what_was_submitted(classifier: Classifier, batches: list[int]) -> None:
    queue = BatchingQueue(classifier, max_batch=4, max_wait_ms=A_MINUTE)
    answers = [queue.submit(image) for image in RANDOM[:6]]
    queue.close()
    queue.close()
    assert [answer.result(timeout=0) for answer in answers] == [classifier.predict(image) for image in RANDOM[:6]]
    assert batches[:2] == [4, 2]
    assert threads() == []
    with pytest.raises(UsageError, match="this queue is closed"):
        queue.submit(RANDOM[0])
    assert classifier.predict(RANDOM[0])


def test_a_refused_image_fails_its_own_caller_only(classifier: Classifier) -> None:
    with BatchingQueue(classifier, max_batch=3, max_wait_ms=A_MINUTE) as queue:
        refused = queue.submit(b"no image")
        answers = [queue.submit(image) for image in RANDOM[:3]]
        assert isinstance(refused.exception(timeout=30), ImageError)
        assert all(answer.result(timeout=30) for answer in answers)


def test_outputs_that_are_no_numbers_fail_their_own_caller_only(make_bundle: Callable[..., Path]) -> None:
    # The means of the largest planes, times this weight, are beyond float32.
    huge = np.full((3, 6, 8), 3e38, np.float32)
    with Classifier.open(make_bundle(), device="cpu", threads=1) as classifier:
        with pytest.raises(VerificationError):
            classifier.predict(huge)
        with BatchingQueue(classifier, max_batch=3, max_wait_ms=A_MINUTE) as queue:
            answers = [queue.submit(image) for image in (RANDOM[0], huge, RANDOM[1])]
            wait(answers, timeout=30)
            assert isinstance(answers[1].exception(), VerificationError)
            assert answers[0].result() == classifier.predict(RANDOM[0])
            assert answers[2].result() == classifier.predict(RANDOM[1])


def test_cancelled_future_leaves_room(classifier: Classifier, held: Any) -> None:
    with BatchingQueue(classifier, max_batch=1, max_pending=2) as queue:
        running = queue.submit(held)
        assert held.entered.wait(timeout=30)
        waiting = queue.submit(b"never looked at")
        assert (running.cancel(), waiting.cancel()) == (False, True)
        another = queue.submit(RANDOM[0])  # there is room again
        held.leave.set()
        assert another.result(timeout=30) == classifier.predict(RANDOM[0])


def test_a_caller_waits_where_too_much_is_pending(classifier: Classifier, held: Any) -> None:
    classifier.threads = 2  # one of which would be free to decode the second image
    with BatchingQueue(classifier, max_pending=1) as queue, ThreadPoolExecutor(1) as caller:
        first = queue.submit(held)
        assert held.entered.wait(timeout=30)
        second: Future[Any] = caller.submit(queue.predict, RANDOM[0])
        assert not wait([second], timeout=0.05).done
        held.leave.set()
        assert second.result(timeout=30) == classifier.predict(RANDOM[0])
        assert isinstance(first.exception(), ImageError)


def test_full_queue_raises_where_a_caller_would_not_wait(classifier: Classifier, held: Any) -> None:
    with BatchingQueue(classifier, max_pending=2) as queue:
        queue.submit(held)
        waiting = queue.submit(RANDOM[0], block=False)
        with pytest.raises(QueueFullError, match="2 images are unanswered"):
            queue.submit(RANDOM[1], block=False)
        with pytest.raises(QueueFullError, match="2 images are unanswered"):
            queue.submit_prepared(classifier.preprocess(RANDOM[1]), block=False)
        held.leave.set()
        assert waiting.result(timeout=30) == classifier.predict(RANDOM[0])
        assert queue.submit(RANDOM[1]).result(timeout=30) == classifier.predict(RANDOM[1])


def test_prepared_images_run_with_the_others(classifier: Classifier, batches: list[int]) -> None:
    planes = classifier.preprocess(RANDOM[0])
    with BatchingQueue(classifier, max_batch=2, max_wait_ms=A_MINUTE) as queue:
        prepared, image = queue.submit_prepared(planes), queue.submit(RANDOM[1])
        outputs = prepared.result(timeout=30)
        assert image.result(timeout=30) == classifier.predict(RANDOM[1])
    assert batches[0] == 2
    np.testing.assert_array_equal(outputs, classifier.logits(planes)[0])


@pytest.mark.parametrize(
    ("shape", "message"),
    [((1, 3, 6, 8), "expected one image"), ((3, 6, 7), "the batch has shape"), ((3, 6), "the batch has shape")],
)
def test_prepared_image_that_does_not_fit_is_refused(
    classifier: Classifier, shape: tuple[int, ...], message: str
) -> None:
    with BatchingQueue(classifier) as queue, pytest.raises(ImageError, match=message):
        queue.submit_prepared(np.zeros(shape, np.float32))


def test_its_repr_says_whether_it_is_closed(classifier: Classifier) -> None:
    with BatchingQueue(classifier, max_batch=4, max_wait_ms=2.5, max_pending=9) as queue:
        text = f"BatchingQueue({classifier!r}, max_batch=4, max_wait_ms=2.5, max_pending=9)"
        assert repr(queue) == text
    assert repr(queue) == f"<closed {text}>"


def test_answers_can_be_awaited(classifier: Classifier) -> None:
    async def main() -> list[list[Prediction]]:
        with BatchingQueue(classifier, max_batch=4) as queue:
            return await asyncio.gather(*(asyncio.wrap_future(queue.submit(image)) for image in RANDOM))

    assert asyncio.run(main()) == [classifier.predict(image) for image in RANDOM]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_batch": 0}, "`max_batch` must be an integer >= 1, got 0"),
        ({"max_pending": 0}, "`max_pending` must be an integer >= 1, got 0"),
        ({"max_wait_ms": -1}, "`max_wait_ms` must be finite and >= 0, got -1"),
        ({"max_wait_ms": float("inf")}, "`max_wait_ms` must be finite and >= 0, got inf"),
    ],
)
def test_arguments_out_of_range_are_refused(classifier: Classifier, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        BatchingQueue(classifier, **arguments)
    assert threads() == []


def test_top_k_out_of_range_is_refused_at_once(classifier: Classifier) -> None:
    with BatchingQueue(classifier) as queue, pytest.raises(UsageError, match="`top_k` must be an integer >= 1, got 0"):
        queue.submit(RANDOM[0], top_k=0)


LEFT_OPEN = """
import atexit, sys
from vgg_runtime import BatchingQueue, Classifier
futures = []
atexit.register(lambda: print(sum(future.done() for future in futures), "answered"))  # after what is registered later
queue = BatchingQueue(Classifier(sys.argv[1], device="cpu", threads=1), max_batch=8, max_wait_ms=60_000)
futures += [queue.submit(sys.argv[2]) for _ in range(20)]
{ending}
"""


@pytest.mark.parametrize(("ending", "code"), [("", 0), ("sys.exit(3)", 3), ("queue.close()", 0)])
def test_queue_left_open_answers_at_the_exit(bundle: Path, photos: Path, ending: str, code: int) -> None:
    command = [sys.executable, "-c", LEFT_OPEN.format(ending=ending), bundle, photos / "red.png"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (code, "20 answered\n", "")


def test_queue_that_is_closed_is_forgotten(classifier: Classifier) -> None:
    queue = BatchingQueue(classifier)
    reference = weakref.ref(queue)
    queue.close()
    del queue
    gc.collect()
    assert reference() is None
